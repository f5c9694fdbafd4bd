//! Entity tags: any bytes are read without a panic, and what is read is written as something that is read alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sluice::mapping::progress::{IfNoneMatch, Progress, ProgressTag, if_match, quote};

fuzz_target!(|data: &[u8]| {
    if let Some(progress) = Progress::decode(data) {
        assert_eq!(
            Progress::decode(progress.encode().as_bytes()),
            Some(progress)
        );
    }
    if let Some(tag) = ProgressTag::decode(data) {
        assert_eq!(ProgressTag::decode(&tag.encode()).as_ref(), Some(&tag));
    }
    let lines = || data.split(|byte| *byte == b'\n');
    let _ = if_match(lines());
    let condition = IfNoneMatch::parse(lines());
    assert!(!(condition.is_any() && condition.is_absent()));
    for tag in condition.tags() {
        assert!(condition.matches(&tag.progress, tag.suffix.as_deref()));
        let again = IfNoneMatch::parse([&quote(&tag.encode())[..]]);
        assert_eq!(again.tags(), [tag.clone()]);
    }
});
