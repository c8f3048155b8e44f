"""Tests of service.telemetry and of what it measures."""
