"""The archive in the object store: what lies there, and Barman's tools that put it there."""

import datetime
import gzip
import json
import os
import subprocess
import urllib.error
import urllib.request

import catalogue
import settings


class Unreachable(Exception):
    """No member of the object store answers."""


def answering_endpoint():
    """The first member that answers anything at all. That it takes a connection says nothing: a frozen one does."""
    for endpoint in settings.ENDPOINTS:
        try:
            urllib.request.urlopen(endpoint, timeout=2).close()
            return endpoint
        except urllib.error.HTTPError:
            # Without a signature it refuses, and that is an answer.
            return endpoint
        except (urllib.error.URLError, OSError):
            continue
    raise Unreachable("no member of the object store answers")


def environment():
    """What Barman's tools and boto3 read. Checksums in trailers are more than every store understands."""
    return {
        **os.environ,
        "AWS_ACCESS_KEY_ID": settings.secret("backups_access_key"),
        "AWS_SECRET_ACCESS_KEY": settings.secret("backups_secret_key"),
        "AWS_DEFAULT_REGION": settings.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        # Barman's own code warns of a later Python.
        "PYTHONWARNINGS": "ignore",
    }


def barman(tool, cluster, *arguments, options=(), seconds_max=settings.BACKUP_SECONDS_MAX):
    """Runs one of Barman's cloud tools on a cluster's archive and gives what it prints."""
    command = [f"barman-cloud-{tool}", "--endpoint-url", answering_endpoint(), *options]
    command += [f"s3://{settings.BUCKET}", cluster, *arguments]
    done = subprocess.run(command, env=environment(), timeout=seconds_max, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed with {done.returncode}; its messages are above")
    return done.stdout


class Store:
    """The bucket, by whichever member answers now."""

    def __init__(self):
        # Takes half a second to load: only those who need it pay.
        import boto3
        from botocore.config import Config

        os.environ.update(environment())
        limits = Config(connect_timeout=3, read_timeout=20, retries={"max_attempts": 3})
        self.client = boto3.client("s3", endpoint_url=answering_endpoint(), config=limits)

    def list(self, prefix=""):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=settings.BUCKET, Prefix=prefix)
        for page in pages:
            for item in page.get("Contents", []):
                yield catalogue.Stored(item["Key"], item["LastModified"]), item["Size"]

    def clusters(self):
        listing = self.client.list_objects_v2(Bucket=settings.BUCKET, Delimiter="/")
        return [item["Prefix"].rstrip("/") for item in listing.get("CommonPrefixes", [])]

    def read(self, key):
        data = self.client.get_object(Bucket=settings.BUCKET, Key=key)["Body"].read()
        return gzip.decompress(data) if key.endswith(".gz") else data

    def download(self, key, path):
        self.client.download_file(settings.BUCKET, key, path)

    def put_segment(self, cluster, path):
        """Stores a segment where Barman stores it."""
        name = os.path.basename(path)
        with open(path, "rb") as file:
            body = gzip.compress(file.read(), 6)
        self.client.put_object(Bucket=settings.BUCKET, Key=f"{cluster}/wals/{name[:16]}/{name}.gz", Body=body)

    def archives(self):
        return [self.archive(cluster) for cluster in self.clusters()]

    def archive(self, cluster):
        segments, histories = {}, {}
        for stored, _ in self.list(f"{cluster}/wals/"):
            name = os.path.basename(stored.key).removesuffix(".gz")
            if catalogue.SEGMENT_NAME.fullmatch(name):
                segments[catalogue.segment_timeline(name), catalogue.segment_number(name)] = stored
            elif match := catalogue.HISTORY_NAME.fullmatch(name):
                branches = catalogue.parse_history(self.read(stored.key).decode())
                histories[int(match[1], 16)] = (stored, branches)
        return catalogue.Archive(cluster, self.backups(cluster), segments, histories)

    def backups(self, cluster):
        """The finished base backups, oldest first; one that was cut short has no complete description."""
        sizes, finished = {}, set()
        for stored, size in self.list(f"{cluster}/base/"):
            backup_id = stored.key.split("/")[2]
            sizes[backup_id] = sizes.get(backup_id, 0) + size
            if stored.key.endswith("/backup.info"):
                finished.add(backup_id)
        if not finished:
            return []
        found = []
        for info in json.loads(barman("backup-list", cluster, options=["--format", "json"]))["backups_list"]:
            if info["status"] != "DONE":
                continue
            found.append(
                catalogue.Backup(
                    id=info["backup_id"],
                    timeline=int(info["timeline"]),
                    first_segment=catalogue.segment_number(info["begin_wal"]),
                    end_lsn=catalogue.parse_lsn(info["end_xlog"]),
                    ended_at=datetime.datetime.fromisoformat(info["end_time_iso"]),
                    bytes=sizes.get(info["backup_id"], 0),
                )
            )
        return sorted(found, key=lambda backup: backup.ended_at)

    def remove_remains(self, cluster, older_than):
        """Removes what backups left that failed or were killed midway."""
        finished = {backup.id for backup in self.backups(cluster)}
        remains = {}
        for stored, _ in self.list(f"{cluster}/base/"):
            remains.setdefault(stored.key.split("/")[2], []).append(stored)
        for backup_id in remains.keys() - finished:
            if max(stored.stored_at for stored in remains[backup_id]) < older_than:
                for stored in remains[backup_id]:
                    self.client.delete_object(Bucket=settings.BUCKET, Key=stored.key)
        for upload in self.client.list_multipart_uploads(Bucket=settings.BUCKET).get("Uploads", []):
            if upload["Initiated"] < older_than:
                names = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                self.client.abort_multipart_upload(Bucket=settings.BUCKET, **names)
