"""The report of a version: one HTML file with its pictures inside, that works offline and can be mailed."""

from training.report.judged import JudgedRows
from training.report.page import report_html

__all__ = ["JudgedRows", "report_html"]
