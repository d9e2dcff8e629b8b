#!/usr/bin/env python3
"""Validates each line of a JSON lines file against a JSON Schema. Usage: check_schema.py SCHEMA FILE

Exit status 0: all are valid; 1: one is not; 77: no jsonschema module here (Debian: python3-jsonschema)."""
import json
import sys

try:
    import jsonschema
except ImportError:
    sys.exit(77)

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)

bad = 0
with open(sys.argv[2], encoding="utf-8") as file:
    for number, line in enumerate(file, 1):
        for error in validator.iter_errors(json.loads(line)):
            bad += 1
            print(f"line {number}: {error.message}\n  {line.rstrip()}")
sys.exit(1 if bad else 0)
