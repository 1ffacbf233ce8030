//! Which of the requests that cost their clients nothing are logged one by one.
//!
//! A line is dearer than many a response. Who asks for what is free, or is refused, could so make
//! the node write a log as fast as they can ask. So of these a second has [`LINES_MAX`] lines; the
//! others are counted, and said together with the first of a later second. Metrics count all.
//!
//! Used by `request_log.rs`. Pure. Bound: three numbers for the process.

use actix_web::http::StatusCode;
use parking_lot::Mutex;

/// Lines of one second.
const LINES_MAX: u32 = 20;

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampled {
    /// It is written, after so many that were not.
    Written {
        left_out: u64,
    },
    LeftOut,
}

/// The lines of the present second.
#[derive(Debug, Default)]
pub(super) struct LogSample {
    state: Mutex<SampleState>,
}

#[derive(Debug, Default)]
struct SampleState {
    second: u64,
    written: u32,
    left_out: u64,
}

impl LogSample {
    pub(super) const fn new() -> Self {
        Self {
            state: Mutex::new(SampleState {
                second: 0,
                written: 0,
                left_out: 0,
            }),
        }
    }

    /// Asks for a line in `second`, of a clock that hardly ever goes back.
    pub(super) fn take(&self, second: u64) -> Sampled {
        let mut state = self.state.lock();
        if second != state.second {
            (state.second, state.written) = (second, 0);
        }
        if state.written >= LINES_MAX {
            state.left_out += 1;
            return Sampled::LeftOut;
        }
        state.written += 1;
        Sampled::Written {
            left_out: std::mem::take(&mut state.left_out),
        }
    }
}

/// Whether a response says that nothing was done for a client that anybody can be.
pub(super) fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::MISDIRECTED_REQUEST
            | StatusCode::TOO_MANY_REQUESTS
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_rest_is_said_later() {
        let sample = LogSample::new();
        for _ in 0..LINES_MAX {
            assert_eq!(sample.take(7), Sampled::Written { left_out: 0 });
        }
        for _ in 0..100 {
            assert_eq!(sample.take(7), Sampled::LeftOut);
        }
        assert_eq!(sample.take(9), Sampled::Written { left_out: 100 });
        assert_eq!(sample.take(9), Sampled::Written { left_out: 0 });
    }
}
