//! Makes a failing run smaller: leaves out faults as long as it fails in the same way.
//!
//! Delta debugging over the numbers of the planned faults: halves, then smaller parts, down to single faults.

/// The fewest faults found with which `fails` still holds; it holds for `all`. At most `tries` runs.
pub(super) fn shrink(all: &[u64], mut tries: u32, mut fails: impl FnMut(&[u64]) -> bool) -> Vec<u64> {
    let mut smallest = all.to_vec();
    let mut parts = 2;
    while smallest.len() > 1 && tries > 0 {
        let size = smallest.len().div_ceil(parts);
        let mut found = None;
        for at in (0..smallest.len()).step_by(size) {
            if tries == 0 {
                break;
            }
            tries -= 1;
            let without: Vec<u64> = [&smallest[..at], &smallest[(at + size).min(smallest.len())..]].concat();
            if fails(&without) {
                found = Some(without);
                break;
            }
        }
        match found {
            Some(without) => {
                smallest = without;
                parts = parts.saturating_sub(1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(smallest.len()),
        }
    }
    // Perhaps no fault is needed at all.
    if smallest.len() == 1 && tries > 0 && fails(&[]) { Vec::new() } else { smallest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_what_it_takes() {
        let all: Vec<u64> = (1..=40).collect();
        let mut runs = 0;
        let found = shrink(&all, 1000, |faults| {
            runs += 1;
            faults.contains(&7) && faults.contains(&31)
        });
        assert_eq!(found, [7, 31]);
        assert!(runs < 60, "{runs}");
        assert_eq!(shrink(&all, 1000, |_| true), Vec::<u64>::new());
        assert_eq!(shrink(&all, 1000, |faults| faults.len() == 40), all);
    }

    #[test]
    fn it_gives_up_in_time() {
        let all: Vec<u64> = (1..=40).collect();
        assert!(shrink(&all, 3, |faults| faults.contains(&7)).contains(&7));
    }
}
