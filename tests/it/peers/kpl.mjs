// Aggregates made and read by aws-kinesis-agg for node: the same cases and results as kpl.py's.
// The modules are in the folder that PEERS_MODULES names.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(process.env.PEERS_MODULES + "/");
const { RecordAggregator, deaggregateSync } = require("aws-kinesis-agg");

function made({ partitionKey, explicitHashKey, records }) {
  const aggregator = new RecordAggregator();
  for (const record of records) {
    const user = { partitionKey, data: Buffer.from(record, "base64") };
    aggregator.addUserRecord(explicitHashKey === null ? user : { ...user, explicitHashKey });
  }
  return aggregator.build().data.toString("base64");
}

function read({ partitionKey, aggregate }) {
  const kinesis = { kinesisSchemaVersion: "1.0", sequenceNumber: "1", partitionKey, data: aggregate };
  let found;
  deaggregateSync(kinesis, true, (error, records) => {
    if (error) throw error;
    found = records;
  });
  if (!found.every((record, index) => record.subSequenceNumber === index)) {
    throw new Error("it was not taken for an aggregate");
  }
  return found.map((record) => ({
    partitionKey: record.partitionKey,
    explicitHashKey: record.explicitPartitionKey ?? null,
    data: record.data,
  }));
}

const cases = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(cases.map((one) => ({ made: made(one), read: read(one) }))));
