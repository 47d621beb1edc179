"""What the tests ask of an AWS-compatible server, through boto3.

A second, independent client: what the agent stored is read back by other code than the
agent's own SDK. Each command prints one JSON value. Its key is the one that ministack takes as
root's and does not check.

    aws.py URL bucket NAME                        makes an S3 bucket
    aws.py URL delivery-stream NAME BUCKET        makes a Firehose stream that writes to it
    aws.py URL objects BUCKET                     base64 of every object, in no given order
    aws.py URL stream NAME SHARDS                 makes a data stream
    aws.py URL records NAME                       base64 of every record of a data stream
    aws.py URL user NAME POLICY                   makes a user, prints its access key
    aws.py URL allow NAME POLICY                  gives a user another policy
    aws.py URL role NAME USER EXTERNAL_ID POLICY  makes a role which that user may assume
"""

import base64
import json
import sys

import boto3
from botocore.config import Config


def client(url, service):
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
    )


def bucket(url, name):
    client(url, "s3").create_bucket(Bucket=name)


def delivery_stream(url, name, bucket_name):
    client(url, "firehose").create_delivery_stream(
        DeliveryStreamName=name,
        DeliveryStreamType="DirectPut",
        ExtendedS3DestinationConfiguration={
            "RoleARN": "arn:aws:iam::000000000000:role/firehose",
            "BucketARN": f"arn:aws:s3:::{bucket_name}",
            "Prefix": "logs/",
        },
    )


def objects(url, bucket_name):
    s3 = client(url, "s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket_name)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return [
        base64.b64encode(s3.get_object(Bucket=bucket_name, Key=key)["Body"].read()).decode()
        for key in keys
    ]


def stream(url, name, shards):
    kinesis = client(url, "kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=int(shards))
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})


def records(url, name):
    kinesis = client(url, "kinesis")
    found = []
    for shard in kinesis.list_shards(StreamName=name)["Shards"]:
        position = kinesis.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while position:
            answer = kinesis.get_records(ShardIterator=position)
            if not answer["Records"]:
                break
            found += [base64.b64encode(record["Data"]).decode() for record in answer["Records"]]
            position = answer.get("NextShardIterator")
    return found


def user(url, name, policy):
    iam = client(url, "iam")
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="policy", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}


def allow(url, name, policy):
    client(url, "iam").put_user_policy(UserName=name, PolicyName="policy", PolicyDocument=policy)


def role(url, name, user_name, external_id, policy):
    iam = client(url, "iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": iam.get_user(UserName=user_name)["User"]["Arn"]},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
            }
        ],
    }
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName=name, PolicyName="policy", PolicyDocument=policy)
    return made["Role"]["Arn"]


COMMANDS = {
    "bucket": bucket,
    "delivery-stream": delivery_stream,
    "objects": objects,
    "stream": stream,
    "records": records,
    "user": user,
    "allow": allow,
    "role": role,
}

if __name__ == "__main__":
    url, command, *arguments = sys.argv[1:]
    print(json.dumps(COMMANDS[command](url, *arguments)))
