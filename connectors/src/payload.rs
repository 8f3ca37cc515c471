/// A row as JSON text, for a person who corrects it: what is text as it is, what is binary in hexadecimal.
pub(crate) fn payload(names: &[String], fields: &[Option<&[u8]>]) -> String {
    let object: serde_json::Map<String, serde_json::Value> = names
        .iter()
        .zip(fields)
        .map(|(name, field)| {
            let value = match field {
                None => serde_json::Value::Null,
                Some(bytes) => match std::str::from_utf8(bytes) {
                    Ok(text) if !text.chars().any(char::is_control) => text.into(),
                    _ => format!("\\x{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()).into(),
                },
            };
            (name.clone(), value)
        })
        .collect();
    serde_json::Value::Object(object).to_string()
}
