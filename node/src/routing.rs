//! Which shard owns a run. The function is for ever: it is what stored keys rely on.

use quorus_raft::GroupId;

/// The group that owns a run: `1 ..= shards`, by FNV-1a over `namespace NUL run_id`, then mixed by the finalizer of MurmurHash3.
///
/// FNV alone is not enough: ids that differ only in their last characters, as numbered ones do, would share a few shards.
///
/// Invariant: never changes for a cluster, since `shards` is fixed at bootstrap.
pub fn shard_of(namespace: &str, run_id: &str, shards: u32) -> GroupId {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in namespace.bytes().chain([0]).chain(run_id.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    1 + u32::try_from(hash % u64::from(shards.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::shard_of;

    #[test]
    fn a_run_stays_on_its_shard_for_ever() {
        assert_eq!(shard_of("default", "order-1", 16), 4);
        assert_eq!(shard_of("default", "order-2", 16), 4);
        assert_eq!(shard_of("other", "order-1", 16), 14);
    }

    #[test]
    fn shards_are_filled_evenly() {
        let mut counts = [0u32; 17];
        for i in 0..16_000 {
            counts[shard_of("default", &format!("run-{i}"), 16) as usize] += 1;
        }
        assert_eq!(counts[0], 0);
        assert!(counts[1..].iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
