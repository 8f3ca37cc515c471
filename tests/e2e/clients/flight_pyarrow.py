"""pyarrow.flight alone: what Flight itself has, without a driver in between."""
import sys

import pyarrow as pa
from pyarrow import flight

uri, token = sys.argv[1:3]


def any_of(name, *fields):
    """google.protobuf.Any of a Flight SQL command whose fields are texts."""

    def field(number, data):
        assert len(data) < 128
        return bytes([number << 3 | 2, len(data)]) + data

    message = b"".join(field(number, text.encode()) for number, text in fields)
    url = f"type.googleapis.com/arrow.flight.protocol.sql.{name}".encode()
    return field(1, url) + field(2, message)


client = flight.connect(uri)
authenticated = client.authenticate_basic_token("anyone", token)
options = flight.FlightCallOptions(headers=[authenticated])
descriptor = flight.FlightDescriptor.for_command(any_of("CommandStatementQuery", (1, "SELECT 41 + 1 AS n")))
assert client.get_schema(descriptor, options).schema == pa.schema([pa.field("n", pa.int64(), False)])
info = client.get_flight_info(descriptor, options)
assert client.do_get(info.endpoints[0].ticket, options).read_all().to_pylist() == [{"n": 42}]
assert info.schema == client.do_get(info.endpoints[0].ticket, options).schema, "one schema in both phases"

many = flight.FlightDescriptor.for_command(
    any_of("CommandStatementQuery", (1, "SELECT n FROM (SELECT unnest(range(0, 300000)) AS n)"))
)
wishes = flight.FlightCallOptions(headers=[authenticated, (b"x-mavis-endpoints", b"4"), (b"x-mavis-compression", b"lz4")])
info = client.get_flight_info(many, wishes)
assert len(info.endpoints) == 4
rows = [client.do_get(endpoint.ticket, wishes).read_all().num_rows for endpoint in info.endpoints]
assert sum(rows) == 300000, rows
actions = {action.type for action in client.list_actions(options)}
assert {"CancelFlightInfo", "SetSessionOptions", "CreatePreparedStatement"} <= actions, actions
for call in (
    lambda: list(client.list_flights(options=options)),
    lambda: client.do_exchange(descriptor, options)[1].read_chunk(),
    lambda: list(client.do_action(flight.Action("Nothing", b""), options)),
):
    try:
        call()
        raise SystemExit("what is not offered was answered")
    except (flight.FlightError, NotImplementedError, pa.ArrowException) as error:
        assert str(error), "it says why"
print("ok")
