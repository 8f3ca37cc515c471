//! FHIRPath compiled onto columns: what search parameters use today, views later.
