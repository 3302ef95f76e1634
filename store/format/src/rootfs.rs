//! The `rootfs` profile: what an entry of a whole system's tree is beyond its kind, permissions and
//! content. It lies in the entry's extensions, so it is part of identity.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::tree::Extension;

/// Numeric owner: uid u32, gid u32. Absent: root's.
const OWNER: u16 = 1;
/// Extended attributes, sorted by name: name as u16 length and bytes, value as u32 length and bytes.
const XATTRS: u16 = 2;
/// Kind u8 (`c`, `b` or `p`), major u32, minor u32; on an entry that is an empty file.
const DEVICE: u16 = 3;
/// Number of the group of names that are one file: u64. Absent: one name.
const LINK_GROUP: u16 = 4;
/// Set-user-id 4, set-group-id 2, sticky 1: u8. Absent: none of them.
const SPECIAL_BITS: u16 = 5;

/// Longest value of an extended attribute, in bytes (XATTR_SIZE_MAX of Linux).
pub const MAX_XATTR_VALUE: usize = 65_536;
/// Longest name of an extended attribute, in bytes (XATTR_NAME_MAX of Linux).
pub const MAX_XATTR_NAME: usize = 255;

/// Kind of a node that is neither file, directory nor link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A named pipe; its numbers are 0.
    Fifo,
}

/// A device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Device {
    /// Which kind.
    pub kind: DeviceKind,
    /// Its driver.
    pub major: u32,
    /// Which of the driver's.
    pub minor: u32,
}

/// Everything that the profile adds to an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// Numeric user id of the owner.
    pub uid: u32,
    /// Numeric group id of the owner.
    pub gid: u32,
    /// Set-user-id (4), set-group-id (2) and sticky (1); 0 to 7.
    pub special_bits: u8,
    /// Entries of one tree with the same number are one file under several names.
    pub link_group: Option<u64>,
    /// It is a device node; the entry itself is an empty file.
    pub device: Option<Device>,
    /// Extended attributes: full names such as `security.capability`, and their values.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Extensions that are not those of this profile, or not in its form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("extension {tag} of an entry is no property of a system's tree")]
pub struct AttributesError {
    /// The extension's tag.
    pub tag: u16,
}

impl Attributes {
    /// The extensions of an entry that has these, sorted; what is as usual has none.
    ///
    /// Names and values of extended attributes beyond [`MAX_XATTR_NAME`] and [`MAX_XATTR_VALUE`] must
    /// have been refused before.
    pub fn to_extensions(&self) -> Vec<Extension> {
        let mut extensions = Vec::new();
        let mut add = |tag, value: Vec<u8>| extensions.push(Extension { tag, value });
        if (self.uid, self.gid) != (0, 0) {
            add(OWNER, [self.uid.to_le_bytes(), self.gid.to_le_bytes()].concat());
        }
        if !self.xattrs.is_empty() {
            let mut value = Vec::new();
            for (name, content) in &self.xattrs {
                value.extend_from_slice(&(name.len() as u16).to_le_bytes());
                value.extend_from_slice(name);
                value.extend_from_slice(&(content.len() as u32).to_le_bytes());
                value.extend_from_slice(content);
            }
            add(XATTRS, value);
        }
        if let Some(Device { kind, major, minor }) = self.device {
            let kind = match kind {
                DeviceKind::Char => b'c',
                DeviceKind::Block => b'b',
                DeviceKind::Fifo => b'p',
            };
            add(DEVICE, [&[kind][..], &major.to_le_bytes(), &minor.to_le_bytes()].concat());
        }
        if let Some(group) = self.link_group {
            add(LINK_GROUP, group.to_le_bytes().to_vec());
        }
        if self.special_bits != 0 {
            add(SPECIAL_BITS, vec![self.special_bits]);
        }
        extensions
    }

    /// Reads what [`to_extensions`](Self::to_extensions) made and nothing else.
    ///
    /// # Errors
    /// [`AttributesError`] for any other extension.
    pub fn from_extensions(extensions: &[Extension]) -> Result<Self, AttributesError> {
        let mut attributes = Self::default();
        for extension in extensions {
            let read = attributes.read(extension.tag, &extension.value);
            read.ok_or(AttributesError { tag: extension.tag })?;
        }
        Ok(attributes)
    }

    fn read(&mut self, tag: u16, value: &[u8]) -> Option<()> {
        let mut rest = value;
        match tag {
            OWNER => {
                (self.uid, self.gid) = (take_u32(&mut rest)?, take_u32(&mut rest)?);
                (self.uid, self.gid).ne(&(0, 0)).then_some(())?;
            }
            SPECIAL_BITS => {
                self.special_bits = take::<1>(&mut rest)?[0];
                (1..=7).contains(&self.special_bits).then_some(())?;
            }
            LINK_GROUP => self.link_group = Some(u64::from_le_bytes(*take(&mut rest)?)),
            DEVICE => {
                let kind = match take::<1>(&mut rest)?[0] {
                    b'c' => DeviceKind::Char,
                    b'b' => DeviceKind::Block,
                    b'p' => DeviceKind::Fifo,
                    _ => return None,
                };
                let (major, minor) = (take_u32(&mut rest)?, take_u32(&mut rest)?);
                self.device = Some(Device { kind, major, minor });
            }
            XATTRS => {
                while !rest.is_empty() {
                    let len = u16::from_le_bytes(*take(&mut rest)?).into();
                    let (name, after) = rest.split_at_checked(len)?;
                    rest = after;
                    let len = take_u32(&mut rest)? as usize;
                    let (content, after) = rest.split_at_checked(len)?;
                    rest = after;
                    let sorted =
                        self.xattrs.last_key_value().is_none_or(|(last, _)| **last < *name);
                    let fits = (1..=MAX_XATTR_NAME).contains(&name.len()) && len <= MAX_XATTR_VALUE;
                    (sorted && fits).then_some(())?;
                    self.xattrs.insert(name.to_vec(), content.to_vec());
                }
                (!self.xattrs.is_empty()).then_some(())?;
            }
            _ => return None,
        }
        rest.is_empty().then_some(())
    }
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(taken)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(|bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn attributes() -> impl Strategy<Value = Attributes> {
        let kind =
            prop_oneof![Just(DeviceKind::Char), Just(DeviceKind::Block), Just(DeviceKind::Fifo)];
        let device = (kind, any::<u32>(), any::<u32>()).prop_map(|(kind, major, minor)| Device {
            kind,
            major,
            minor,
        });
        let name = prop::collection::vec(any::<u8>(), 1..40);
        let xattrs =
            prop::collection::btree_map(name, prop::collection::vec(any::<u8>(), 0..40), 0..4);
        let link_group = prop::option::of(any::<u64>());
        (any::<(u32, u32)>(), 0u8..8, link_group, prop::option::of(device), xattrs).prop_map(
            |((uid, gid), special_bits, link_group, device, xattrs)| Attributes {
                uid,
                gid,
                special_bits,
                link_group,
                device,
                xattrs,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(attributes in attributes()) {
            let extensions = attributes.to_extensions();
            prop_assert!(extensions.is_sorted_by(|a, b| a.tag < b.tag));
            prop_assert_eq!(Attributes::from_extensions(&extensions), Ok(attributes));
        }

        #[test]
        fn any_bytes_are_an_answer_and_only_canonical_ones_are_taken(
            tag in 0u16..8, value in prop::collection::vec(any::<u8>(), 0..30)
        ) {
            let extensions = [Extension { tag, value }];
            if let Ok(attributes) = Attributes::from_extensions(&extensions) {
                prop_assert_eq!(attributes.to_extensions(), extensions);
            }
        }
    }

    #[test]
    fn an_entry_like_a_workspaces_has_no_extensions() {
        assert_eq!(Attributes::default().to_extensions(), []);
    }
}
