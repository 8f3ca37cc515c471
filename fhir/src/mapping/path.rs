use std::{fmt, str::FromStr};

/// A path such as `name[0].given[0]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ElementPath(pub Vec<PathStep>);

/// An element name and, on an element that repeats, which one of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathStep {
    pub name: String,
    pub index: Option<u32>,
}

/// The greatest index that a path may have: more are a slip of the pen, not a resource.
const MAX_INDEX: u32 = 999;

impl FromStr for ElementPath {
    /// What is wrong, without the path.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split('.').map(step).collect::<Result<Vec<_>, _>>().map(Self)
    }
}

fn step(text: &str) -> Result<PathStep, String> {
    let text = text.trim();
    let (name, index) = match text.split_once('[') {
        None => (text, None),
        Some((name, rest)) => {
            let digits = rest.strip_suffix(']').ok_or("an index is written `[0]`")?;
            let index = digits.parse::<u32>().map_err(|_| format!("`[{digits}]` is not an index: write `[0]`"))?;
            if index > MAX_INDEX {
                return Err(format!("index {index} is beyond {MAX_INDEX}"));
            }
            (name, Some(index))
        }
    };
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if name.is_empty() || !letters {
        return Err(format!("`{text}` is not an element: a path is like `name[0].given[0]`"));
    }
    Ok(PathStep { name: name.to_owned(), index })
}

impl fmt::Display for ElementPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(".")?;
            }
            f.write_str(&step.name)?;
            if let Some(index) = step.index {
                write!(f, "[{index}]")?;
            }
        }
        Ok(())
    }
}
