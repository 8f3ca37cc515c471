/// What is behind the door, for a person who opened it in a browser.
const PAGE: &str = "\
Mavis: a data-lakehouse server for health data.

  POST /api/v1/sql             a question in SQL; JSON, NDJSON, CSV, Arrow or Parquet by Accept
  POST /api/v1/queries         a long one; its rows are fetched later
  GET  /api/v1/sources         where data comes from
  GET  /api/v1/tables          what tables there are
  GET  /api/v1/runs            what ran, and what became of the rows
  GET  /api/v1/runs/ID/events  a run as it goes on (server-sent events)
  GET  /fhir/...               FHIR R4; begin at /fhir/metadata
  GET  /openapi.json           all of the above, described for programs
  GET  /metrics                for Prometheus
  GET  /health/live            whether the process runs
  GET  /health/ready           whether it takes requests

Everything but health and /fhir/metadata wants a token: `authorization: Bearer TOKEN`.
Arrow Flight SQL and gRPC are on the server's other port.
";

/// Plain text that names the doors; it tells nothing about the lake.
pub(super) async fn index() -> &'static str {
    PAGE
}
