"""Parses everything that the server answers with the models of fhir.resources. Arguments: the base URL, the token."""

import json
import sys
import urllib.error
import urllib.request
from collections import Counter

from fhir.resources.R4B import get_fhir_model_class

base, token = sys.argv[1:3]
parsed, refused = Counter(), []


def ask(path, headers=None, method="GET", body=None):
    url = path if path.startswith("http") else f"{base}/{path}"
    headers = {"authorization": f"Bearer {token}", "content-type": "application/fhir+json"} | (headers or {})
    request = urllib.request.Request(url, data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def parse(resource, where):
    kind = resource["resourceType"]
    try:
        get_fhir_model_class(kind).model_validate(resource)
        parsed[kind] += 1
    except ValueError as error:
        refused.append(f"{where}: {kind}: {str(error)[:400]}")


def answer(path, status=200, **more):
    got, body = ask(path, **more)
    assert got == status, f"{path}: {got} instead of {status}: {body[:300]}"
    resource = json.loads(body)
    parse(resource, path)
    return resource


def walk(path, pages):
    """A search with its pages; every resource of it is parsed by itself too."""
    count = 0
    while path and count < pages:
        bundle = answer(path)
        for entry in bundle.get("entry", []):
            parse(entry["resource"], path)
        path = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
        count += 1


statement = answer("metadata")
kinds = [resource["type"] for resource in statement["rest"][0]["resource"]]
assert len(kinds) == 147, len(kinds)
there = [kind for kind in kinds if answer(f"{kind}?_summary=count")["total"] > 0]
assert len(there) == 24, there
for kind in there:
    walk(f"{kind}?_count=200&_total=accurate", 3)
    one = answer(f"{kind}?_count=1")["entry"][0]["resource"]
    parse(answer(f"{kind}/{one['id']}"), "read")
    answer(f"{kind}/{one['id']}/_history/1")
    answer(f"{kind}/{one['id']}/_history")
walk("Observation?_include=*&_count=20", 2)
walk("Patient?_revinclude=Condition:patient&_count=5&_elements=name", 2)
walk("Patient?_summary=true&_count=20", 1)
walk("?_type=Patient,Encounter&_count=50", 2)
walk("_history?_count=50", 2)
someone = answer("Patient?_count=1")["entry"][0]["resource"]["id"]
everything = answer(f"Patient/{someone}/$everything")
for entry in everything["entry"]:
    parse(entry["resource"], "everything")

strict = {"prefer": "handling=strict"}
for path, status, more in [
    ("Patient/nobody", 404, {}),
    ("Nothing/1", 404, {}),
    ("Patient?birthdate=2024-13-45", 400, {}),
    ("Patient?nonsense=1", 400, {"headers": strict}),
    ("Patient", 400, {"method": "POST", "body": b"{"}),
    ("Patient", 415, {"method": "POST", "body": b"<x/>", "headers": {"content-type": "text/xml"}}),
    ("Patient/1", 405, {"method": "PATCH", "body": b"[]"}),
    ("metadata", 406, {"headers": {"accept": "application/fhir+xml"}}),
]:
    outcome = answer(path, status, **more)
    assert outcome["resourceType"] == "OperationOutcome", path

bundle = {
    "resourceType": "Bundle",
    "type": "transaction",
    "entry": [{"resource": {"resourceType": "Patient", "name": [{"family": "Py"}]}, "request": {"method": "POST", "url": "Patient"}}],
}
assert answer("", method="POST", body=json.dumps(bundle).encode())["type"] == "transaction-response"

for line in refused[:20]:
    print(line, file=sys.stderr)
assert not refused, f"{len(refused)} answers are refused, {sum(parsed.values())} taken"
assert sum(parsed.values()) > 3000, parsed
print("ok", dict(parsed))
