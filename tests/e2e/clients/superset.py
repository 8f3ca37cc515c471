"""A chart's query made and run by Apache Superset, over the SQLAlchemy dialect of flightsql-dbapi."""
import logging
import os
import sys
import tempfile
import warnings

host, port = sys.argv[1].split(":")
token = sys.argv[2]
home = tempfile.mkdtemp()
config = os.path.join(home, "superset_config.py")
with open(config, "w") as file:
    file.write(
        f"""
SECRET_KEY = "a key for a test that nobody else ever uses 0123456789"
SQLALCHEMY_DATABASE_URI = "sqlite:///{home}/superset.db"
FILTER_STATE_CACHE_CONFIG = EXPLORE_FORM_DATA_CACHE_CONFIG = {{"CACHE_TYPE": "NullCache"}}
CACHE_CONFIG = DATA_CACHE_CONFIG = {{"CACHE_TYPE": "NullCache"}}
"""
    )
os.environ["SUPERSET_CONFIG_PATH"] = config
os.environ["SUPERSET_HOME"] = home
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")

import flightsql  # noqa: E402
import flightsql.sqlalchemy  # noqa: E402,F401
import sqlalchemy  # noqa: E402

uri = f"datafusion+flightsql://{host}:{port}?insecure=true&token={token}"

# The driver by itself: texts and parameters, and what SQLAlchemy asks of a database.
with flightsql.connect(flightsql.FlightSQLClient(host=host, port=int(port), token=token, insecure=True)) as connection:
    cursor = connection.cursor()
    assert cursor.execute("SELECT count(*) FROM raw.clinic.patients").fetchall()[0][0] == 300
    cursor.execute("SELECT nom FROM raw.clinic.patients WHERE nom = ?", ("Nom7",))
    assert [tuple(row) for row in cursor.fetchall()] == [("Nom7",)], "bound values, with the handle of before"
    cursor.execute("SELECT n FROM (SELECT unnest(range(0, 200000)) AS n)")
    assert len(cursor.fetchall()) == 200000, "every row from the first endpoint"
engine = sqlalchemy.create_engine(uri)
inspector = sqlalchemy.inspect(engine)
assert "clinic" in inspector.get_schema_names()
assert "patients" in inspector.get_table_names("clinic")
assert "nom" in [column["name"] for column in inspector.get_columns("patients", "clinic")]

from superset.app import create_app  # noqa: E402

app = create_app()
with app.app_context():
    from flask_appbuilder import Model
    from superset.connectors.sqla.models import SqlaTable, SqlMetric, TableColumn
    from superset.extensions import db
    from superset.models.core import Database

    Model.metadata.create_all(db.engine)
    database = Database(database_name="mavis", sqlalchemy_uri=uri)
    # The password of a URL is masked on its way; a token is none.
    db.session.add(database)
    db.session.flush()
    table = SqlaTable(table_name="patients", schema="clinic", database=database)
    table.columns = [TableColumn(column_name="sexe", type="VARCHAR"), TableColumn(column_name="patient_id", type="BIGINT")]
    table.metrics = [
        SqlMetric(metric_name="patients", expression="count(*)"),
        SqlMetric(metric_name="names", expression="count(DISTINCT nom)"),
    ]
    db.session.add(table)
    db.session.commit()
    result = table.query(
        {
            "granularity": None,
            "from_dttm": None,
            "to_dttm": None,
            "columns": ["sexe"],
            "groupby": ["sexe"],
            "metrics": ["patients", "names"],
            "is_timeseries": False,
            "filter": [{"col": "patient_id", "op": "<=", "val": 101}, {"col": "sexe", "op": "IN", "val": ["F", "M"]}],
            "row_limit": 100,
            "orderby": [["patients", False]],
            "extras": {},
        }
    )
    assert result.error_message is None, (result.error_message, result.query)
    rows = {row["sexe"]: (int(row["patients"]), int(row["names"])) for row in result.df.to_dict("records")}
    assert rows == {"M": (51, 51), "F": (50, 50)}, (rows, result.query)
    # SQL Lab's way: a statement, and a frame.
    frame = database.get_df("SELECT sexe, count(*) AS n FROM raw.clinic.patients GROUP BY sexe ORDER BY sexe", schema="clinic")
    assert list(frame["n"]) == [150, 150], frame
print("ok")
