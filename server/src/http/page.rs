use super::ApiError;

/// Lines of a page when nothing is said.
pub(super) const DEFAULT: u32 = 100;
/// Most lines of a page.
pub(super) const MOST: u32 = 1_000;

/// How many lines were asked for.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, ApiError> {
    match asked {
        None => Ok(DEFAULT),
        Some(limit @ 1..=MOST) => Ok(limit),
        Some(limit) => Err(ApiError::invalid(format!("limit={limit}: ask for 1 to {MOST}"))),
    }
}
