"""What a fuzzer sends: mutated messages, and bytes that are no HTTP/2."""
