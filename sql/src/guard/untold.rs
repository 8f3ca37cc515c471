//! What references repeat of what they point to, and do not tell any more where that is hidden.

/// What a resource is called and by what it is known elsewhere, with the member of a Reference that repeats it.
const REPEATED: [(&str, &str); 2] = [("name", "display"), ("identifier", "identifier")];

/// Members that references lose. A reference need not say the type that it is to, nor may it be there at all: what is hidden of one
/// type is left out of all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Untold([bool; REPEATED.len()]);

impl Untold {
    /// `is_hidden`: whether an element of some type of resource is.
    pub(crate) fn of(is_hidden: impl Fn(&str) -> bool) -> Self {
        Self(REPEATED.map(|(element, _)| is_hidden(element)))
    }

    /// Both together.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        let mut both = self.0;
        both.iter_mut().zip(other.0).for_each(|(one, other)| *one |= other);
        Self(both)
    }

    pub(crate) fn is_nothing(self) -> bool {
        !self.0.contains(&true)
    }

    /// Whether references do not have this member; what stands beside a primitive (`_display`) goes with it.
    pub(crate) fn has(self, member: &str) -> bool {
        let member = member.strip_prefix('_').unwrap_or(member);
        REPEATED.iter().zip(self.0).any(|((_, known), untold)| untold && *known == member)
    }
}
