#!/usr/bin/env python3
"""Holds a bill of materials to the schema of CycloneDX: `check_bill.py FILE`."""

import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

text = Path(sys.argv[1]).read_text(encoding="utf-8")
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
if problem:
    sys.exit(f"{sys.argv[1]} is no CycloneDX 1.6: {problem}")
