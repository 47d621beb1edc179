"""Aggregates made and read by aws-kinesis-agg: a JSON list of cases on stdin, one of results on
stdout. A case is {partitionKey, explicitHashKey or null, records: [base64], aggregate: base64}; a
result is {made: base64, read: [{partitionKey, explicitHashKey, data: base64}]}.
"""

import base64
import json
import sys

from aws_kinesis_agg.aggregator import RecordAggregator
from aws_kinesis_agg.deaggregator import deaggregate_records


def made(case):
    aggregator = RecordAggregator()
    for record in case["records"]:
        data = base64.b64decode(record)
        full = aggregator.add_user_record(case["partitionKey"], data, case["explicitHashKey"])
        assert full is None, "the case is too large for one aggregate"
    return base64.b64encode(aggregator.clear_and_get().get_contents()[2]).decode()


def read(case):
    record = {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "sequenceNumber": "1",
            "approximateArrivalTimestamp": 0,
            "partitionKey": case["partitionKey"],
            "data": case["aggregate"],
        }
    }
    inner = [found["kinesis"] for found in deaggregate_records([record])]
    assert all(found["aggregated"] for found in inner), "it was not taken for an aggregate"
    return [
        {
            "partitionKey": found["partitionKey"],
            "explicitHashKey": found["explicitHashKey"],
            "data": found["data"].decode(),
        }
        for found in inner
    ]


print(json.dumps([{"made": made(case), "read": read(case)} for case in json.load(sys.stdin)]))
