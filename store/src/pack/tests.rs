use proptest::prelude::*;

use super::*;
use crate::object::{Kind, ObjectKey};

fn chunk(bytes: &[u8]) -> ObjectKey {
    ObjectKey::new(Kind::Chunk, *blake3::hash(bytes).as_bytes())
}

fn sealed(dir: &std::path::Path, objects: &[Vec<u8>]) -> SealedPack {
    let mut builder = FrameBuilder::new(1, NODE_FRAME).unwrap();
    let mut open = OpenPack::create(dir, Effort::Fast, true).unwrap();
    for object in objects {
        if builder.add(chunk(object), object) {
            open.append(builder.close().unwrap().unwrap(), u64::MAX).unwrap();
        }
    }
    if let Some(frame) = builder.close().unwrap() {
        open.append(frame, u64::MAX).unwrap();
    }
    for object in objects {
        assert_eq!(open.read(&chunk(object)).unwrap().as_ref(), Some(object));
    }
    open.seal(dir).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_packed_is_what_is_read(
        small in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..40),
        large in prop::collection::vec((any::<u8>(), 0usize..400_000), 0..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut objects = small;
        objects.extend(large.into_iter().map(|(byte, len)| vec![byte; len]));
        let sealed = sealed(dir.path(), &objects);
        let (pack, file) = Pack::open(&sealed.path).unwrap();
        let footer = pack.footer(&file).unwrap();
        prop_assert_eq!(&footer, &sealed.footer);
        for (number, record) in footer.records.iter().enumerate() {
            prop_assert_eq!(&pack.record(&file, number as u32).unwrap(), record);
            let line = pack.frame(&file, record.frame).unwrap();
            let stored = pack.stored(&file, &line).unwrap();
            prop_assert!(frame_is_intact(&line, &stored));
            let raw = decode_frame(&line, stored).unwrap();
            let bytes = &raw[record.offset as usize..][..record.len as usize];
            prop_assert!(record.key.matches(bytes));
        }
    }

    #[test]
    fn noise_is_no_pack_and_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pack");
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(Pack::open(&path).is_err());
        bytes.extend_from_slice(b"PYROEND\x01");
        std::fs::write(&path, &bytes).unwrap();
        prop_assert!(Pack::open(&path).is_err());
    }
}
