use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::EntryPayload;
use proptest::prelude::*;

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn membership(configs: Vec<BTreeSet<u64>>) -> Membership {
    let homes: BTreeMap<_, _> = configs.iter().flatten().map(|replica| (*replica, Home { node: replica + 10 })).collect();
    Membership::new(configs, homes).unwrap()
}

/// What is on disks must stay readable: these bytes never change.
#[test]
fn golden_bytes() {
    let id = log_id(2, 258);
    let voters = membership(vec![BTreeSet::from([1, 2, 3])]);
    let entry = |payload| hex(&encode_entry(&RaftEntry { log_id: id, payload }));
    assert_eq!(entry(EntryPayload::Blank), "010000000000000002");
    assert_eq!(entry(EntryPayload::Normal(Record::new(2, b"quorus"))), "02000000000000000271756f727573");
    assert_eq!(entry(EntryPayload::Membership(voters.clone())), "03000000000000000212050a030102031a040801100b1a040802100c1a040803100d");
    assert_eq!(hex(&encode_vote(&Vote::new_committed(2, 3))), "010000000000000002000000000000000301");
    assert_eq!(hex(&encode_vote(&Vote::new(2, 3))), "010000000000000002000000000000000300");
    assert_eq!(hex(&encode_log_id(id)), "0100000000000000020000000000000102");
    let applied = encode_applied(Some(id), &StoredMembership::new(Some(log_id(1, 0)), voters));
    assert_eq!(hex(&applied), "01000000000000000200000000000001020a02080112050a030102031a040801100b1a040802100c1a040803100d");
    assert_eq!(hex(&encode_applied(None, &StoredMembership::default())), "00");
}

#[test]
fn golden_keys() {
    use crate::keys::{self, Meta};
    assert_eq!(hex(&keys::log(1, 258)), "000000010000000000000102");
    assert_eq!(hex(&keys::meta(1, Meta::Vote)), "0000000101");
    assert_eq!(hex(&keys::meta(1, Meta::Committed)), "0000000102");
    assert_eq!(hex(&keys::meta(1, Meta::Purged)), "0000000103");
    assert_eq!(hex(&keys::meta(1, Meta::Applied)), "0000000104");
    assert_eq!(hex(&keys::meta(1, Meta::Installing)), "0000000105");
    assert_eq!(hex(&keys::meta(1, Meta::Replica)), "0000000106");
    assert_eq!(hex(&keys::state(keys::staging(1))), "80000001");
    assert_eq!(keys::log_index(&keys::log(1, 258)), Some(258));
}

fn memberships() -> impl Strategy<Value = Membership> {
    proptest::collection::vec(proptest::collection::btree_set(1_u64..50, 1..6), 1..3).prop_map(membership)
}

proptest! {
    #[test]
    fn entries_come_back_as_they_were(term: u64, index in 0..u64::MAX / 2, record: Vec<u8>, members in memberships()) {
        for payload in [EntryPayload::Blank, EntryPayload::Normal(Record::new(term, &record)), EntryPayload::Membership(members.clone())] {
            let entry = RaftEntry { log_id: log_id(term, index), payload };
            prop_assert_eq!(decode_entry(index, encode_entry(&entry)).unwrap(), entry);
        }
        prop_assert_eq!(&Record::new(term, &record).record()[..], &record[..]);
    }

    #[test]
    fn marks_come_back_as_they_were(term: u64, replica: u64, committed: bool, index: u64, members in memberships()) {
        let vote = if committed { Vote::new_committed(term, replica) } else { Vote::new(term, replica) };
        prop_assert_eq!(decode_vote(&encode_vote(&vote)).unwrap(), vote);
        let id = log_id(term, index);
        prop_assert_eq!(decode_log_id(&encode_log_id(id)).unwrap(), id);
        let stored = StoredMembership::new(Some(id), members);
        prop_assert_eq!(decode_applied(&encode_applied(Some(id), &stored)).unwrap(), (Some(id), stored.clone()));
        prop_assert_eq!(vote_from_proto(Some(&vote_to_proto(&vote))).unwrap(), vote);
        prop_assert_eq!(stored_membership_from_proto(&stored_membership_to_proto(&stored)).unwrap(), stored);
    }

    #[test]
    fn garbage_is_an_error_and_not_a_panic(bytes: Vec<u8>) {
        let _entry = decode_entry(0, Bytes::from(bytes.clone()));
        let _vote = decode_vote(&bytes);
        let _id = decode_log_id(&bytes);
        let _applied = decode_applied(&bytes);
    }
}
