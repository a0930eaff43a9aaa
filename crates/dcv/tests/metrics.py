"""Reads a page of metrics with Prometheus' own parser; prints its samples as JSON. A page that it does not take is an error."""

import json
import math
import sys

from prometheus_client.parser import text_string_to_metric_families

samples = []
for family in text_string_to_metric_families(open(sys.argv[1], encoding="utf-8").read()):
    if not family.documentation or family.type == "unknown":
        sys.exit(f"{family.name} has no help or type")
    if family.type == "histogram":
        # Buckets count what is at most their bound: none is less than the one before, and the last is all.
        rows = {}
        for sample in family.samples:
            key = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
            rows.setdefault(key, {}).setdefault(sample.name, []).append((sample.labels.get("le"), sample.value))
        for key, row in rows.items():
            counts = [value for _, value in sorted(row[family.name + "_bucket"], key=lambda one: float(one[0]))]
            if counts != sorted(counts) or counts[-1] != row[family.name + "_count"][0][1]:
                sys.exit(f"{family.name}{key} is no histogram: {counts}")
    for sample in family.samples:
        if math.isnan(sample.value):
            sys.exit(f"{sample.name} is no number")
        samples.append({"name": sample.name, "labels": sample.labels, "value": sample.value})
json.dump(samples, sys.stdout)
