use super::{
    column::Column,
    tree::{Member, Node, Object},
};
use crate::ResourceType;

/// Writes one row through the tree.
#[derive(Debug)]
pub(super) struct Writer<'c> {
    pub(super) columns: &'c [Column],
    pub(super) row: usize,
}

/// What a part of the tree wrote.
#[derive(Debug, Clone, Copy, Default)]
struct Written {
    anything: bool,
    /// Something that is more than a literal.
    varying: bool,
}

impl Writer<'_> {
    /// # Errors
    /// A required element that is empty.
    pub(super) fn resource(&self, resource: ResourceType, root: &Object) -> Result<String, String> {
        let mut out = format!("{{\"resourceType\":\"{resource}\"");
        self.members(root, true, &mut out)?;
        out.push('}');
        Ok(out)
    }

    fn members(&self, object: &Object, mut comma: bool, out: &mut String) -> Result<Written, String> {
        let mut written = Written::default();
        // Indices of members with a value; the required ones are looked up at the end. Few elements are required.
        let mut present = Vec::with_capacity(if object.required.is_empty() { 0 } else { object.members.len() });
        for (index, member) in object.members.iter().enumerate() {
            let start = out.len();
            if comma {
                out.push(',');
            }
            out.push('"');
            out.push_str(member.element.name);
            out.push_str("\":");
            let part = self.member(member, out)?;
            if part.anything {
                comma = true;
                written.anything = true;
                written.varying |= part.varying;
                if !object.required.is_empty() {
                    present.push(index);
                }
            } else {
                out.truncate(start);
            }
        }
        // A value of which only literals are left (the system of an identifier that is null) says nothing.
        let dropped = !object.path.is_empty() && (!written.anything || (object.varies && !written.varying));
        if dropped {
            return Ok(Written::default());
        }
        for required in &object.required {
            if !required.members.iter().any(|member| present.contains(member)) {
                let dot = if object.path.is_empty() { "" } else { "." };
                return Err(format!("`{}{dot}{}` is required and has no value", object.path, required.name));
            }
        }
        Ok(written)
    }

    fn member(&self, member: &Member, out: &mut String) -> Result<Written, String> {
        if !member.element.many {
            return member.slots.first().map_or_else(|| Ok(Written::default()), |(_, node)| self.node(node, out));
        }
        let mut all = Written::default();
        out.push('[');
        for (_, node) in &member.slots {
            let start = out.len();
            if all.anything {
                out.push(',');
            }
            let written = self.node(node, out)?;
            if written.anything {
                all.anything = true;
                all.varying |= written.varying;
            } else {
                out.truncate(start);
            }
        }
        out.push(']');
        Ok(all)
    }

    fn node(&self, node: &Node, out: &mut String) -> Result<Written, String> {
        match node {
            Node::Leaf(leaf) => match self.columns.get(leaf.index).and_then(|column| column.json(self.row)) {
                Some(json) => {
                    out.push_str(json);
                    Ok(Written { anything: true, varying: leaf.varies })
                }
                None => Ok(Written::default()),
            },
            Node::Object(object) => {
                out.push('{');
                let written = self.members(object, false, out)?;
                out.push('}');
                Ok(written)
            }
        }
    }
}
