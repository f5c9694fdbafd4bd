//! The only `unsafe` of the crate: liburing's four system-call functions, and sockets made from raw descriptors.
//!
//! glommio links liburing statically. liburing's `syscall.o` holds exactly these four functions, so defining all four here keeps that object out of the
//! link, and every ring that glommio sets up passes through `__sys_io_uring_setup`, which adds `IORING_SETUP_COOP_TASKRUN` (kernel 5.19): completions
//! then wait for the executor's next system call instead of interrupting its core. Measured on a bare HTTP echo: 11.0 → 7.1 µs CPU a request.
//! Leave one of the four out and the link fails, loudly. The rule of this file: nothing but what needs `unsafe`.
#![expect(
    unsafe_code,
    reason = "the one place: C entry points that liburing calls, and descriptors handed to glommio"
)]

use std::ffi::{c_int, c_uint, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// Rings set up by this process so far.
static RINGS_SEEN: AtomicU32 = AtomicU32::new(0);
/// Rings that took the cooperative flag.
static RINGS_COOPERATIVE: AtomicU32 = AtomicU32::new(0);

const IORING_SETUP_IOPOLL: u32 = 1;
const IORING_SETUP_COOP_TASKRUN: u32 = 1 << 8;
/// `struct io_uring_params` is 120 bytes; its third word holds the flags.
const PARAMS_WORDS: usize = 30;
const FLAGS_WORD: usize = 2;
const IORING_ENTER_GETEVENTS: c_uint = 1;
const IORING_ENTER_EXT_ARG: c_uint = 1 << 3;
/// The longest that an executor sleeps without looking around.
///
/// glommio 0.9 parks although tasks are ready when its preemption timer expires between its last look at the rings and the run of its task queues: on a loaded
/// machine 14 of 480 starts hung, with timers past due. With this bound 0 of 1,520 did: a missed turn costs 20 ms instead of the core. An idle core pays some 40 µs of CPU for
/// each look.
static SLEEP_LIMIT: KernelTimespec = KernelTimespec {
    seconds: 0,
    nanoseconds: 20_000_000,
};
/// Bytes of a kernel signal set, which liburing passes when a caller names none.
const SIGNAL_SET_BYTES: c_int = 8;

/// `struct __kernel_timespec`.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

/// `struct io_uring_getevents_arg`: a signal set and a time limit for a wait (kernel 5.11).
#[repr(C)]
struct WaitArgument {
    signals: u64,
    signals_bytes: u32,
    padding: u32,
    time_limit: u64,
}

/// How many rings were set up, and how many of them run their completions cooperatively.
pub fn rings() -> (u32, u32) {
    (
        RINGS_SEEN.load(Ordering::Relaxed),
        RINGS_COOPERATIVE.load(Ordering::Relaxed),
    )
}

/// Turns a bound and listening socket into a listener of the executor this is called on.
pub(super) fn listener(socket: socket2::Socket) -> glommio::net::TcpListener {
    let descriptor = OwnedFd::from(socket).into_raw_fd();
    // SAFETY: the descriptor comes out of an owned socket, so it is open and nobody else will close it.
    unsafe { glommio::net::TcpListener::from_raw_fd(descriptor) }
}

/// Sets what glommio has no words for on the socket of a stream.
///
/// # Errors
///
/// Those of `set`.
pub(super) fn with_socket(
    stream: &glommio::net::TcpStream,
    set: impl FnOnce(&socket2::SockRef<'_>) -> std::io::Result<()>,
) -> std::io::Result<()> {
    // SAFETY: the stream owns the descriptor and is borrowed for the call, so it is open all the while.
    let descriptor = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    set(&socket2::SockRef::from(&descriptor))
}

/// Whether the kernel lets this process set up a ring at all.
///
/// # Errors
///
/// The kernel's refusal: `EPERM` (seccomp, `kernel.io_uring_disabled`), `ENOSYS` (no io_uring), `ENOMEM` (memlock limit).
pub(super) fn probe() -> std::io::Result<()> {
    let mut params = [0u32; PARAMS_WORDS];
    // SAFETY: `params` is a zeroed `struct io_uring_params`, alive for the call.
    let descriptor =
        unsafe { libc::syscall(libc::SYS_io_uring_setup, 2 as c_uint, params.as_mut_ptr()) };
    let descriptor = c_int::try_from(descriptor).unwrap_or(-1);
    if descriptor < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given this descriptor to us alone; dropping the owner closes it.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    Ok(())
}

/// Result of a raw system call as the C functions return it: -1 with `errno` set, or a small number.
fn as_c_int(result: std::ffi::c_long) -> c_int {
    c_int::try_from(result).unwrap_or(-1)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __sys_io_uring_setup(entries: c_uint, params: *mut u32) -> c_int {
    RINGS_SEEN.fetch_add(1, Ordering::Relaxed);
    let mut original = [0u32; PARAMS_WORDS];
    // SAFETY: liburing passes a valid `struct io_uring_params`, 120 bytes, that outlives the call.
    unsafe {
        std::ptr::copy_nonoverlapping(params, original.as_mut_ptr(), PARAMS_WORDS);
        if original[FLAGS_WORD] & IORING_SETUP_IOPOLL == 0 {
            *params.add(FLAGS_WORD) |= IORING_SETUP_COOP_TASKRUN;
            let descriptor = as_c_int(libc::syscall(libc::SYS_io_uring_setup, entries, params));
            if descriptor >= 0 {
                RINGS_COOPERATIVE.fetch_add(1, Ordering::Relaxed);
                return descriptor;
            }
            // An older kernel refuses the flag: ask again exactly as liburing did.
            std::ptr::copy_nonoverlapping(original.as_ptr(), params, PARAMS_WORDS);
        }
        as_c_int(libc::syscall(libc::SYS_io_uring_setup, entries, params))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __sys_io_uring_register(
    ring: c_int,
    opcode: c_uint,
    argument: *const c_void,
    count: c_uint,
) -> c_int {
    // SAFETY: the arguments are liburing's own, passed on unchanged.
    unsafe {
        as_c_int(libc::syscall(
            libc::SYS_io_uring_register,
            ring,
            opcode,
            argument,
            count,
        ))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __sys_io_uring_enter2(
    ring: c_int,
    submit: c_uint,
    complete_min: c_uint,
    flags: c_uint,
    signals: *mut c_void,
    signals_bytes: c_int,
) -> c_int {
    let is_wait = complete_min > 0
        && flags & (IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG) == IORING_ENTER_GETEVENTS;
    if is_wait {
        let argument = WaitArgument {
            signals: signals as u64,
            signals_bytes: signals_bytes.cast_unsigned(),
            padding: 0,
            time_limit: &raw const SLEEP_LIMIT as u64,
        };
        let limited = flags | IORING_ENTER_EXT_ARG;
        // SAFETY: liburing's own arguments, but for the wait's, which points to two structures that outlive the call; `errno` is this thread's.
        unsafe {
            let result = libc::syscall(
                libc::SYS_io_uring_enter,
                ring,
                submit,
                complete_min,
                limited,
                &raw const argument,
                size_of::<WaitArgument>(),
            );
            let errno = libc::__errno_location();
            if result >= 0 || (*errno != libc::ETIME && *errno != libc::EINVAL) {
                return as_c_int(result);
            }
            if *errno == libc::ETIME {
                // As if by a signal: whoever waits looks around and waits again.
                *errno = libc::EINTR;
                return -1;
            }
        }
    }
    // SAFETY: the arguments are liburing's own, passed on unchanged.
    unsafe {
        as_c_int(libc::syscall(
            libc::SYS_io_uring_enter,
            ring,
            submit,
            complete_min,
            flags,
            signals,
            signals_bytes,
        ))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn __sys_io_uring_enter(
    ring: c_int,
    submit: c_uint,
    complete_min: c_uint,
    flags: c_uint,
    signals: *mut c_void,
) -> c_int {
    // SAFETY: as above; the fifth argument's size is the kernel's signal set.
    unsafe { __sys_io_uring_enter2(ring, submit, complete_min, flags, signals, SIGNAL_SET_BYTES) }
}
