//! Chance and time of a thread that simulates: from the seed, whoever asks for them.
//!
//! Programs get chance in many places that no seam of ours reaches: keys of hash maps, identifiers, jitter of clients, the order in which tokio wakes
//! those that wait. All of it comes from `getrandom`, and all time from `clock_gettime`; both are functions of the C library, and a program that
//! defines functions with these names is asked instead. On a thread that simulates they answer from the seed and from simulated time. On any other
//! thread, and before [`own_thread`], they ask the kernel, as the C library would.
//!
//! Invariant: one simulation per process, on a thread of its own: counters of the process and of the thread are new, too.

use std::{cell::Cell, time::Duration};

use super::dice::mix;

/// Seconds since 1970 when a simulation begins: 2026-01-01.
pub(super) const WALL_AT_ZERO_S: u64 = 1_767_225_600;
/// What the monotonic clock says when a simulation begins. Not 0, since programs look back.
const MONOTONIC_AT_ZERO_S: u64 = 1_000_000;

thread_local! {
    static CHANCE: Cell<Option<u64>> = const { Cell::new(None) };
    static ELAPSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// From here on, chance and time of this thread are simulated.
pub(super) fn own_thread(seed: u64) {
    CHANCE.set(Some(mix(seed ^ 0x5eed)));
    ELAPSED.set(Duration::ZERO);
}

/// So much simulated time has passed.
pub(super) fn set_elapsed(elapsed: Duration) {
    ELAPSED.set(elapsed);
}

/// How much simulated time has passed, to the step.
pub(super) fn elapsed() -> Duration {
    ELAPSED.get()
}

/// True on a thread that simulates.
fn is_simulated() -> bool {
    CHANCE.get().is_some()
}

/// The next eight bytes of chance; only on a thread that simulates.
fn draw() -> u64 {
    let state = CHANCE.get().unwrap_or_default().wrapping_add(0x9e37_79b9_7f4a_7c15);
    CHANCE.set(Some(state));
    mix(state)
}

/// A number that nobody had before.
pub(super) fn unique() -> u128 {
    u128::from(draw()) << 64 | u128::from(draw())
}

/// What the clock says on a thread that simulates; none on others, and for clocks that count something else than time.
fn simulated(clock: libc::clockid_t) -> Option<Duration> {
    if !is_simulated() {
        return None;
    }
    match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => Some(Duration::from_secs(WALL_AT_ZERO_S) + ELAPSED.get()),
        libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_BOOTTIME => {
            Some(Duration::from_secs(MONOTONIC_AT_ZERO_S) + ELAPSED.get())
        }
        _ => None,
    }
}

#[cfg(target_os = "linux")]
mod instead_of_libc {
    #![expect(unsafe_code, reason = "the functions of the C library that are replaced are unsafe, and so is replacing them")]

    use std::ffi::{c_int, c_uint, c_void};

    /// Replaces the C library's.
    ///
    /// # Safety
    /// As the C library says: `buffer` has room for `length` bytes.
    // SAFETY: the signature is the C library's.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
        if !super::is_simulated() {
            // SAFETY: the arguments are the caller's, for the same contract.
            return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) } as isize;
        }
        // Whoever asks for nothing, as libraries do once in a process to see whether it works, draws nothing.
        let mut eight = 0;
        for at in 0..length {
            if at % 8 == 0 {
                eight = super::draw();
            }
            // SAFETY: `at` is below `length`, and the caller promises so many bytes.
            unsafe { buffer.cast::<u8>().add(at).write(eight.to_le_bytes()[at % 8]) };
        }
        isize::try_from(length).unwrap_or(isize::MAX)
    }

    /// Replaces the C library's.
    ///
    /// # Safety
    /// As the C library says: `time` can be written.
    // SAFETY: the signature is the C library's.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
        let Some(now) = super::simulated(clock) else {
            // SAFETY: the arguments are the caller's, for the same contract.
            return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as c_int;
        };
        let now = libc::timespec { tv_sec: now.as_secs() as libc::time_t, tv_nsec: now.subsec_nanos().into() };
        // SAFETY: the caller promises that it can be written.
        unsafe { time.write(now) };
        0
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::hash_map::RandomState,
        hash::BuildHasher,
        time::{Instant, SystemTime},
    };

    use quorus_node::clock::{Clock, SystemClock};

    use super::*;

    fn chances(seed: Option<u64>) -> (u64, u128, SystemTime) {
        let thread = std::thread::spawn(move || {
            if let Some(seed) = seed {
                own_thread(seed);
            }
            (RandomState::new().hash_one(1), SystemClock.unique(), SystemTime::now())
        });
        thread.join().unwrap()
    }

    #[test]
    fn keys_of_maps_and_random_bytes_follow_from_the_seed_on_a_thread_that_simulates_and_only_there() {
        assert_eq!(chances(Some(3)), chances(Some(3)));
        assert_ne!(chances(Some(3)).0, chances(Some(4)).0);
        assert_ne!(chances(None).0, chances(None).0);
    }

    #[test]
    fn time_stands_still_until_the_simulation_moves_it() {
        let thread = std::thread::spawn(|| {
            own_thread(1);
            let began = Instant::now();
            assert_eq!(began.elapsed(), Duration::ZERO);
            set_elapsed(Duration::from_millis(1500));
            (began.elapsed(), SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap())
        });
        assert_eq!(thread.join().unwrap(), (Duration::from_millis(1500), Duration::from_millis(WALL_AT_ZERO_S * 1000 + 1500)));
        assert!(SystemTime::now() > SystemTime::UNIX_EPOCH + Duration::from_secs(WALL_AT_ZERO_S));
    }
}
