//! What PostgreSQL 15 answers.

use std::sync::Arc;

use arrow::util::display::array_value_to_string;
use datafusion::prelude::{SessionConfig, SessionContext};
use rstest::rstest;

use super::{Moment, Numbers, parts, read::read, with_patterns, write};

/// Microseconds since 1970, a pattern, what is written.
const TIMES: [(i64, &str, &str); 40] = [
    (1_709_647_629_123_456, "YYYY-MM-DD HH24:MI:SS", "2024-03-05 14:07:09"),
    (-63_517_824_000_000_000, "YYYY-MM-DD HH24:MI:SS", "0044-03-15 00:00:00"),
    (946_684_799_000_000, "YYYY-MM-DD\"T\"HH24:MI:SS.MSOF", "1999-12-31T23:59:59.000+00"),
    (1_582_977_600_000_000, "YYYY-MM-DD\"T\"HH24:MI:SS.MSOF", "2020-02-29T12:00:00.000+00"),
    (-63_517_824_000_000_000, "FMMonth DDth, YYYY", "March 15th, 0044"),
    (253_402_216_205_000_007, "FMMonth DDth, YYYY", "December 31st, 9999"),
    (1_582_977_600_000_000, "Day, DD Mon YY", "Saturday , 29 Feb 20"),
    (1_766_970_123_000_000, "Day, DD Mon YY", "Monday   , 29 Dec 25"),
    (253_402_216_205_000_007, "DAY dy D ID", "FRIDAY    fri 6 5"),
    (1_709_647_629_123_456, "DAY dy D ID", "TUESDAY   tue 3 2"),
    (1_766_970_123_000_000, "HH12:MI AM", "01:02 AM"),
    (946_684_799_000_000, "HH12:MI AM", "11:59 PM"),
    (1_709_647_629_123_456, "hh:mi a.m.", "02:07 p.m."),
    (-63_517_824_000_000_000, "hh:mi a.m.", "12:00 a.m."),
    (946_684_799_000_000, "IYYY-IW-ID IDDD", "1999-52-5 362"),
    (1_582_977_600_000_000, "IYYY-IW-ID IDDD", "2020-09-6 062"),
    (-63_517_824_000_000_000, "Q WW W DDD J", "1 11 3 074 1705428"),
    (253_402_216_205_000_007, "Q WW W DDD J", "4 53 5 365 5373484"),
    (1_582_977_600_000_000, "Y,YYY CC BC", "2,020 21 AD"),
    (1_766_970_123_000_000, "Y,YYY CC BC", "2,025 21 AD"),
    (253_402_216_205_000_007, "RM rm FMRM", "XII  xii  XII"),
    (1_709_647_629_123_456, "RM rm FMRM", "III  iii  III"),
    (1_766_970_123_000_000, "US MS FF1 FF3", "000000 000 0 000"),
    (946_684_799_000_000, "US MS FF1 FF3", "000000 000 0 000"),
    (1_709_647_629_123_456, "SSSS FMHH24:FMMI", "50829 14:7"),
    (-63_517_824_000_000_000, "SSSS FMHH24:FMMI", "0 0:0"),
    (946_684_799_000_000, "TZ tz TZH:TZM", "UTC utc +00:00"),
    (1_582_977_600_000_000, "TZ tz TZH:TZM", "UTC utc +00:00"),
    (-63_517_824_000_000_000, "FMDDD FMMM", "74 3"),
    (253_402_216_205_000_007, "FMDDD FMMM", "365 12"),
    (1_582_977_600_000_000, "YYYYth MMTH", "2020th 02ND"),
    (1_766_970_123_000_000, "YYYYth MMTH", "2025th 12TH"),
    (253_402_216_205_000_007, "month MONTH|FMMonth|", "december  DECEMBER |December|"),
    (1_709_647_629_123_456, "month MONTH|FMMonth|", "march     MARCH    |March|"),
    (1_766_970_123_000_000, "yyyy.mm.dd é \"YYYY\" \\\"", "2025.12.29 é YYYY \""),
    (946_684_799_000_000, "yyyy.mm.dd é \"YYYY\" \\\"", "1999.12.31 é YYYY \""),
    (1_709_647_629_123_456, "I IY IYY Y YY YYY", "4 24 024 4 24 024"),
    (-63_517_824_000_000_000, "I IY IYY Y YY YYY", "4 44 044 4 44 044"),
    (946_684_799_000_000, "B.C. ad", "A.D. ad"),
    (1_582_977_600_000_000, "B.C. ad", "A.D. ad"),
];

/// A number, a pattern, what is written.
const NUMBERS: [(&str, &str, &str); 57] = [
    ("485", "999", " 485"),
    ("-485", "999", "-485"),
    ("485", "9 9 9", " 4 8 5"),
    ("1485", "9,999", " 1,485"),
    ("1485", "9G999", " 1,485"),
    ("148.5", "999.999", " 148.500"),
    ("148.5", "FM999.999", "148.5"),
    ("148.5", "FM999.990", "148.500"),
    ("148.5", "999D999", " 148.500"),
    ("3148.5", "9G999D999", " 3,148.500"),
    ("-485", "999S", "485-"),
    ("-485", "999MI", "485-"),
    ("485", "999MI", "485 "),
    ("485", "FM999MI", "485"),
    ("485", "PL999", "+ 485"),
    ("485", "SG999", "+485"),
    ("-485", "SG999", "-485"),
    ("-485", "9SG99", "4-85"),
    ("-485", "999PR", "<485>"),
    ("485", "999PR", " 485 "),
    ("485", "L999", "  485"),
    ("482", "999th", " 482nd"),
    ("485", "\"Good number:\"999", "Good number: 485"),
    ("485.8", "\"Pre:\"999\" Post:\" .999", "Pre: 485 Post: .800"),
    ("12.45", "FM99.99", "12.45"),
    ("-0.1", "99.99", "  -.10"),
    ("-0.1", "FM9.99", "-.1"),
    ("-0.1", "FM90.99", "-0.1"),
    ("0.1", "0.9", " 0.1"),
    ("12", "9990999.9", "    0012.0"),
    ("12", "FM9990999.9", "0012."),
    ("-12.34", "S99.99", "-12.34"),
    ("12.34", "S99.99", "+12.34"),
    ("1234", "99", " ##"),
    ("1234.5", "99.9", " ##.#"),
    ("0", "999", "   0"),
    ("0", "9.9", "  .0"),
    ("0", "FM9.9", "0."),
    ("0.004", "FM999.00", ".00"),
    ("123456789.126", "999,999,999.99", " 123,456,789.13"),
    ("12", "000,000", " 000,012"),
    ("12", "999,999", "      12"),
    ("12", "FM999,999", "12"),
    ("-12", "999,999", "     -12"),
    ("-12", "000,000.0", "-000,012.0"),
    ("0.5", "9", " 1"),
    ("1.5", "9", " 2"),
    ("2.5", "9", " 3"),
    ("-2.5", "9", "-3"),
    ("0.1", ".99", " .##"),
    ("1.1", ".99", " .##"),
    ("7", "00", " 07"),
    ("1", "FM00TH", "01ST"),
    ("-7", "MI99", "- 7"),
    ("7", "99S", " 7+"),
    ("-1234567", "FM9,999,999", "-1,234,567"),
    ("100", "FM999", "100"),
];

/// A text, a pattern, what is read; nothing where it is refused.
const TEXTS: [(&str, &str, &str); 81] = [
    ("05/03/2024", "DD/MM/YYYY", "2024-03-05 00:00:00.000000 AD"),
    ("2024-03-05 10:11", "YYYY-MM-DD HH24:MI", "2024-03-05 10:11:00.000000 AD"),
    ("20240305", "YYYYMMDD", "2024-03-05 00:00:00.000000 AD"),
    ("20240305 101112", "YYYYMMDD HH24MISS", "2024-03-05 10:11:12.000000 AD"),
    ("2024 Mar 5", "YYYY Mon DD", "2024-03-05 00:00:00.000000 AD"),
    ("5 march 2024", "DD Month YYYY", "2024-03-05 00:00:00.000000 AD"),
    ("05Mar24", "DDMonYY", "2024-03-05 00:00:00.000000 AD"),
    ("1/2/70", "MM/DD/YY", "1970-01-02 00:00:00.000000 AD"),
    ("1/2/69", "MM/DD/YY", "2069-01-02 00:00:00.000000 AD"),
    ("12", "MM", "0001-12-01 00:00:00.000000 BC"),
    ("2024", "YYYY", "2024-01-01 00:00:00.000000 AD"),
    ("2024-060", "YYYY-DDD", "2024-02-29 00:00:00.000000 AD"),
    ("2024-366", "YYYY-DDD", "2024-12-31 00:00:00.000000 AD"),
    ("2023-366", "YYYY-DDD", ""),
    ("2024-W10-3", "IYYY-\"W\"IW-ID", "2024-03-06 00:00:00.000000 AD"),
    ("2024W10", "IYYY\"W\"IW", "2024-03-04 00:00:00.000000 AD"),
    ("2024 10", "YYYY WW", "2024-03-04 00:00:00.000000 AD"),
    ("2024 3 2", "YYYY MM W", "2024-03-08 00:00:00.000000 AD"),
    ("2460375", "J", "2024-03-05 00:00:00.000000 AD"),
    ("44-03-15 BC", "YYYY-MM-DD BC", "0044-03-15 00:00:00.000000 BC"),
    ("21 24", "CC YY", "2024-01-01 00:00:00.000000 AD"),
    ("2,024", "Y,YYY", "2024-01-01 00:00:00.000000 AD"),
    ("11:30 PM", "HH:MI AM", "0001-01-01 23:30:00.000000 BC"),
    ("12:00 am", "HH12:MI am", "0001-01-01 00:00:00.000000 BC"),
    ("13:00", "HH12:MI", ""),
    ("24:00", "HH24:MI", ""),
    ("2024-02-30", "YYYY-MM-DD", ""),
    ("2024-13-01", "YYYY-MM-DD", ""),
    ("2024-3-5", "YYYY-MM-DD", "2024-03-05 00:00:00.000000 AD"),
    ("  2024-03-05", "YYYY-MM-DD", "2024-03-05 00:00:00.000000 AD"),
    ("2024-03-05", "  YYYY-MM-DD", "2024-03-05 00:00:00.000000 AD"),
    ("2024/03/05", "YYYY-MM-DD", "2024-03-05 00:00:00.000000 AD"),
    ("2024 03 05", "YYYY-MM-DD", "2024-03-05 00:00:00.000000 AD"),
    ("20240305", "YYYY-MM-DD", ""),
    ("2024--03-05", "YYYY-MM-DD", ""),
    ("2024-03-05trailing", "YYYY-MM-DD", "2024-03-05 00:00:00.000000 AD"),
    ("2024-03", "YYYY-MM-DD", "2024-03-01 00:00:00.000000 AD"),
    ("abc", "YYYY", ""),
    ("202", "YYYYMM", ""),
    ("2024030", "YYYYMMDD", "2024-03-01 00:00:00.000000 AD"),
    ("2024-03-05 10:11:12.25", "YYYY-MM-DD HH24:MI:SS.MS", "2024-03-05 10:11:12.250000 AD"),
    ("2024-03-05 10:11:12.123456", "YYYY-MM-DD HH24:MI:SS.US", "2024-03-05 10:11:12.123456 AD"),
    ("2024-03-05 10:11:12.5", "YYYY-MM-DD HH24:MI:SS.FF3", "2024-03-05 10:11:12.500000 AD"),
    ("2024-03-05 10:11+02", "YYYY-MM-DD HH24:MITZH", "2024-03-05 08:11:00.000000 AD"),
    ("2024-03-05 10:11 -05:30", "YYYY-MM-DD HH24:MI TZH:TZM", "2024-03-05 15:41:00.000000 AD"),
    ("2024-03-05T10:11:12Z", "YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"", "2024-03-05 10:11:12.000000 AD"),
    ("5th March 2024", "DDth Month YYYY", "2024-03-05 00:00:00.000000 AD"),
    ("VIII 2024", "RM YYYY", "2024-08-01 00:00:00.000000 AD"),
    ("Tuesday 5 March 2024", "Day DD Month YYYY", "2024-03-05 00:00:00.000000 AD"),
    ("2024 Q1", "YYYY \"Q\"Q", "2024-01-01 00:00:00.000000 AD"),
    ("50829", "SSSS", "0001-01-01 14:07:09.000000 BC"),
    ("12 12", "MM MM", "0001-12-01 00:00:00.000000 BC"),
    ("11 12", "MM MM", ""),
    ("2024-03-05 10", "YYYY-MM-DD HH", "2024-03-05 10:00:00.000000 AD"),
    ("2024 3", "IYYY MM", ""),
    ("10000-01-01", "YYYY-MM-DD", "10000-01-01 00:00:00.000000 AD"),
    ("20000-1131", "YYYY-MMDD", ""),
    ("-44-02-01", "YYYY-MM-DD", "0044-02-01 00:00:00.000000 BC"),
    ("2000 JUN", "YYYY MON", "2000-06-01 00:00:00.000000 AD"),
    ("2000JUN", "YYYY///MON", "2000-06-01 00:00:00.000000 AD"),
    ("2000/JUN", "YYYY MON", "2000-06-01 00:00:00.000000 AD"),
    ("2000//JUN", "YYYY/MON", ""),
    ("2000 + JUN", "YYYY MON", "2000-06-01 00:00:00.000000 AD"),
    ("2000   JUN", "FXYYYY MON", ""),
    ("2000-JUN", "FXYYYY MON", "2000-06-01 00:00:00.000000 AD"),
    ("2000xJUN", "YYYYyMON", ""),
    ("03-05-2024", "DD-MM-YYYY", "2024-05-03 00:00:00.000000 AD"),
    ("010203", "YYMMDD", "2001-02-03 00:00:00.000000 AD"),
    ("99-1-2", "YY-MM-DD", "1999-01-02 00:00:00.000000 AD"),
    ("2024-03-05 10:11:12 pm", "YYYY-MM-DD HH:MI:SS PM", "2024-03-05 22:11:12.000000 AD"),
    ("2024-03-05 25:11", "YYYY-MM-DD HH24:MI", ""),
    ("2024-03-05 23:60", "YYYY-MM-DD HH24:MI", ""),
    ("  5  3  2024", "DD MM YYYY", "2024-03-05 00:00:00.000000 AD"),
    ("1990", "YYY", "1990-01-01 00:00:00.000000 AD"),
    ("990", "YYY", "1990-01-01 00:00:00.000000 AD"),
    ("120", "YYY", "2120-01-01 00:00:00.000000 AD"),
    ("2024-53-1", "IYYY-IW-ID", "2024-12-30 00:00:00.000000 AD"),
    ("2024-054", "IYYY-IDDD", "2024-02-23 00:00:00.000000 AD"),
    ("3.5.24", "FMDD.FMMM.YY", "2024-05-03 00:00:00.000000 AD"),
    ("2024-03-05 10h11", "YYYY-MM-DD HH24\"h\"MI", "2024-03-05 10:11:00.000000 AD"),
    ("2500-01-01 00:00", "YYYY-MM-DD HH24:MI", "2500-01-01 00:00:00.000000 AD"),
];

fn written(micros: i64, pattern: &str) -> String {
    let mut text = String::new();
    write::write(&parts(pattern).unwrap(), &Moment::at(micros, true).unwrap(), &mut text).unwrap();
    text
}

#[test]
fn times_are_written_as_postgres_does() {
    for (micros, pattern, expected) in TIMES {
        assert_eq!(written(micros, pattern), expected, "{pattern}");
    }
}

#[tokio::test]
async fn numbers_are_written_as_postgres_does() {
    for (number, pattern, expected) in NUMBERS {
        let (mark, digits) = number.strip_prefix('-').map_or((false, number), |digits| (true, digits));
        let scale = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let value: i128 = digits.replace('.', "").parse().unwrap();
        let pattern_read = Numbers::read(pattern).unwrap();
        let (_, digits) = super::rounded(value, scale as i32, pattern_read.scale());
        assert_eq!(pattern_read.write(mark, &digits), expected, "{number} {pattern}");
    }
}

#[test]
fn texts_are_read_as_postgres_does() {
    for (text, pattern, expected) in TEXTS {
        let micros = read(&parts(pattern).unwrap(), text);
        let told = micros.map(|micros| written(micros, "YYYY-MM-DD HH24:MI:SS.US BC"));
        assert_eq!(told.as_deref().unwrap_or_default(), expected, "{text} {pattern} {told:?}");
    }
}

async fn answer(expr: &str) -> Result<String, String> {
    let config = SessionConfig::new().set_str("datafusion.execution.time_zone", "+00:00").with_target_partitions(1);
    let context = SessionContext::new_with_config(config);
    context.add_analyzer_rule(Arc::new(crate::micros::Microseconds));
    for function in context.state().scalar_functions().values() {
        context.register_udf(with_patterns(Arc::clone(function)).as_ref().clone());
    }
    let told = |error: datafusion::error::DataFusionError| crate::fault::planning(&error).to_string();
    let batches = context.sql(&format!("SELECT {expr}")).await.map_err(told)?.collect().await.map_err(told)?;
    let rows = batches.iter().flat_map(|batch| {
        (0..batch.num_rows()).map(|row| array_value_to_string(batch.column(0), row).unwrap()).collect::<Vec<_>>()
    });
    Ok(rows.collect::<Vec<_>>().join("|"))
}

#[rstest]
#[case("to_char(TIMESTAMP '9999-12-31 10:00:00', 'YYYY-MM')", "9999-12")]
#[case("to_char(TIMESTAMP '2024-03-05 14:07:09', '%Y-%m')", "2024-03")]
#[case("to_char(DATE '2024-03-05', 'DD/MM/YYYY')", "05/03/2024")]
#[case("to_char(DATE '2024-03-05', '%d')", "05")]
#[case("to_char('2024-03-05 10:11:12', 'HH24:MI')", "10:11")]
#[case("to_char(TIME '14:07:09', 'HH24hMI')", "14h07")]
#[case("to_char(INTERVAL '1 year 2 months 3 days', 'YYYY MM DD')", "0001 02 03")]
#[case("to_char(INTERVAL '40 hours', 'HH24 HH12')", "40 04")]
#[case("to_char(INTERVAL '-3 hours', 'HH24:MI')", "-03:00")]
#[case("to_char(TIMESTAMP '2024-03-05 12:00:00' - TIMESTAMP '2024-03-01', 'DD HH24')", "04 12")]
#[case("to_char(1234.5, '9,999.99')", " 1,234.50")]
#[case("to_char(1234, 'FM9,999')", "1,234")]
#[case("to_char(CAST(2.5 AS DOUBLE), '9')", " 2")]
#[case("to_char(CAST(12.345 AS DECIMAL(10, 3)), 'FM990.00')", "12.35")]
#[case("to_char(CAST(NULL AS TIMESTAMP), 'YYYY')", "")]
#[case("to_char(TIMESTAMP '2024-03-05', NULL)", "")]
#[case(
    "to_char(TIMESTAMP '2024-03-05', p) FROM (VALUES ('YYYY'), ('%m'), (NULL), ('DD'), ('DD')) t(p)",
    "2024|03||05|05"
)]
#[case("to_date('05/03/2024', 'DD/MM/YYYY')", "2024-03-05")]
#[case("to_date('05/03/2024', '%d/%m/%Y')", "2024-03-05")]
#[case("to_date('2024-03-05')", "2024-03-05")]
#[case(
    "to_date(x, 'YYYYMMDD') FROM (VALUES ('20240305'), (NULL), (' '), ('99991231')) t(x)",
    "2024-03-05|||9999-12-31"
)]
#[case("to_date('2024.03', 'YYYY-MM-DD', 'YYYY.MM')", "2024-03-01")]
#[case("to_timestamp('2024-03-05 10:11', 'YYYY-MM-DD HH24:MI')", "2024-03-05T10:11:00Z")]
#[case("to_timestamp('9999-12-31', 'YYYY-MM-DD') = TIMESTAMP '9999-12-31'", "true")]
#[case("to_timestamp('31/12/2023 10:00', '%d/%m/%Y %H:%M')", "2023-12-31T10:00:00Z")]
#[case("to_timestamp(86400)", "1970-01-02T00:00:00Z")]
#[tokio::test]
async fn patterns_reach_every_type(#[case] expr: &str, #[case] expected: &str) {
    assert_eq!(answer(expr).await.as_deref(), Ok(expected));
}

#[rstest]
#[case("to_char(1, '%d')", "writes times")]
#[case("to_char(1, '9.9.9')", "one decimal point")]
#[case("to_char(1, 'RN')", "not written with RN")]
#[case("to_char(INTERVAL '1 day', 'Month')", "no Month")]
#[case("to_char(TIMESTAMP '2024-03-05', 'HH24:MM')", "minutes are MI")]
#[case("to_char(true, 'YYYY')", "no function to_char(BOOLEAN, TEXT): to_char takes a time")]
#[case(
    "to_char(TIMESTAMP '2024-03-05')",
    "no function to_char(TIMESTAMP): to_char takes what is written and a pattern"
)]
#[case("to_date('Durand', 'YYYY')", "something else where YYYY is wanted")]
#[case("to_date('Durand 1950', 'Mon YYYY')", "something else where Mon is wanted")]
#[case("to_timestamp('2024-03-05 13', 'YYYY-MM-DD HH')", "HH24 knows the others")]
#[tokio::test]
async fn what_does_not_fit_is_told_without_the_value(#[case] expr: &str, #[case] expected: &str) {
    let told = answer(expr).await.unwrap_err();
    assert!(told.contains(expected) && !told.contains("Durand") && !told.contains("1950"), "{told}");
}
