//! The metrics that Zilla's files call by name, as far as they mean something here.
//!
//! Its one rule: a name stands here or is refused; none is accepted and never counted.

/// A metric of a `tcp` or `http` server under Zilla's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ZillaMetric {
    /// Connections (tcp) or requests (http) begun.
    StreamOpensReceived,
    /// Connections accepted, or answers begun.
    StreamOpensSent,
    /// Connections or requests that came to their end.
    StreamClosesReceived,
    /// Connections ended, or answers completed.
    StreamClosesSent,
    /// Connections or requests that broke off.
    StreamErrorsReceived,
    /// Connections reset, or answers cut short.
    StreamErrorsSent,
    /// Bytes from the client: all of them (tcp), or those of bodies (http).
    StreamDataReceived,
    /// Bytes to the client.
    StreamDataSent,
    /// Connections or requests under way.
    StreamActiveReceived,
    /// Connections or answers under way.
    StreamActiveSent,
    /// Bytes of each request's body.
    HttpRequestSize,
    /// Bytes of each answer's body.
    HttpResponseSize,
    /// Requests that are not answered yet.
    HttpActiveRequests,
    /// From each request's head to the end of its answer.
    HttpDuration,
}

/// What a metric measures, as far as exporters tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricShape {
    /// Only goes up.
    Counter {
        /// Whether it counts bytes.
        bytes: bool,
    },
    /// Goes up and down.
    Gauge,
    /// The distribution of a size in bytes.
    Sizes,
    /// The distribution of a time, in milliseconds.
    Times,
}

impl ZillaMetric {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 14] = [
        Self::StreamOpensReceived,
        Self::StreamOpensSent,
        Self::StreamClosesReceived,
        Self::StreamClosesSent,
        Self::StreamErrorsReceived,
        Self::StreamErrorsSent,
        Self::StreamDataReceived,
        Self::StreamDataSent,
        Self::StreamActiveReceived,
        Self::StreamActiveSent,
        Self::HttpRequestSize,
        Self::HttpResponseSize,
        Self::HttpActiveRequests,
        Self::HttpDuration,
    ];

    /// The name in a file: `stream.opens.received`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StreamOpensReceived => "stream.opens.received",
            Self::StreamOpensSent => "stream.opens.sent",
            Self::StreamClosesReceived => "stream.closes.received",
            Self::StreamClosesSent => "stream.closes.sent",
            Self::StreamErrorsReceived => "stream.errors.received",
            Self::StreamErrorsSent => "stream.errors.sent",
            Self::StreamDataReceived => "stream.data.received",
            Self::StreamDataSent => "stream.data.sent",
            Self::StreamActiveReceived => "stream.active.received",
            Self::StreamActiveSent => "stream.active.sent",
            Self::HttpRequestSize => "http.request.size",
            Self::HttpResponseSize => "http.response.size",
            Self::HttpActiveRequests => "http.active.requests",
            Self::HttpDuration => "http.duration",
        }
    }

    /// What it measures.
    pub const fn shape(self) -> MetricShape {
        match self {
            Self::StreamOpensReceived
            | Self::StreamOpensSent
            | Self::StreamClosesReceived
            | Self::StreamClosesSent
            | Self::StreamErrorsReceived
            | Self::StreamErrorsSent => MetricShape::Counter { bytes: false },
            Self::StreamDataReceived | Self::StreamDataSent => MetricShape::Counter { bytes: true },
            Self::StreamActiveReceived | Self::StreamActiveSent | Self::HttpActiveRequests => {
                MetricShape::Gauge
            }
            Self::HttpRequestSize | Self::HttpResponseSize => MetricShape::Sizes,
            Self::HttpDuration => MetricShape::Times,
        }
    }

    /// The name for Prometheus, as Zilla makes it: `stream_data_received_bytes_total`.
    pub fn prometheus_name(self) -> String {
        let suffix = match self.shape() {
            MetricShape::Counter { bytes: true } => "_bytes_total",
            MetricShape::Counter { bytes: false } => "_total",
            MetricShape::Gauge => "",
            MetricShape::Sizes => "_bytes",
            MetricShape::Times => "_milliseconds",
        };
        self.name().replace('.', "_") + suffix
    }
}

/// Some of Zilla's metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricSet(u16);

impl MetricSet {
    /// Adds one.
    pub fn insert(&mut self, metric: ZillaMetric) {
        self.0 |= 1 << metric as u16;
    }

    /// Whether it is among them.
    pub const fn contains(self, metric: ZillaMetric) -> bool {
        self.0 & (1 << metric as u16) != 0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Them, in order.
    pub fn iter(self) -> impl Iterator<Item = ZillaMetric> {
        ZillaMetric::ALL
            .into_iter()
            .filter(move |metric| self.contains(*metric))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_inserted_and_nothing_else() {
        for one in ZillaMetric::ALL {
            let mut set = MetricSet::default();
            assert!(set.is_empty());
            set.insert(one);
            assert_eq!(set.iter().collect::<Vec<_>>(), [one]);
        }
    }

    #[test]
    fn prometheus_names_end_with_the_unit() {
        let names: Vec<String> = [
            ZillaMetric::StreamOpensReceived,
            ZillaMetric::StreamDataSent,
            ZillaMetric::HttpActiveRequests,
            ZillaMetric::HttpRequestSize,
            ZillaMetric::HttpDuration,
        ]
        .map(ZillaMetric::prometheus_name)
        .into();
        assert_eq!(
            names,
            [
                "stream_opens_received_total",
                "stream_data_sent_bytes_total",
                "http_active_requests",
                "http_request_size_bytes",
                "http_duration_milliseconds",
            ]
        );
    }
}
