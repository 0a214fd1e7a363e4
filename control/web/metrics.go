package web

import (
	"runtime"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"balance/engine"
	"balance/engine/admit"
	"balance/engine/balancer"
	"balance/engine/health"
	"balance/engine/plane"
)

// newRegistry holds the metrics of the daemon, the Go runtime and the process.
func newRegistry(d *Daemon) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		&collector{d},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return registry
}

// collector reads the counters of the engine when it is asked. Its labels are
// bounded by the configuration: none holds anything that a client says.
type collector struct{ daemon *Daemon }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("balance_"+name, help, labels, nil)
}

func describeListener(name, help string, labels ...string) *prometheus.Desc {
	return describe("listener_"+name, help, append([]string{"listener"}, labels...)...)
}

// A channel is named by its listener and its address, not by its group, so
// that its series go on when it is moved. Its name stands beside these, empty if it
// has none, which is to Prometheus as if the label were missing.
func describeChannel(name, help string, labels ...string) *prometheus.Desc {
	return describe("channel_"+name, help, append([]string{"listener", "channel", "name"}, labels...)...)
}

var (
	channelConnections     = describeChannel("connections_total", "Connections made to the channel.")
	channelActive          = describeChannel("connections_active", "Sessions on the channel, those that are being connected included.")
	channelConnectErrors   = describeChannel("connect_errors_total", "Attempts to connect to the channel that failed.", "reason")
	channelConnectDuration = describeChannel("connect_duration_seconds", "How long it took to connect to the channel, where that succeeded.")
	channelBytes           = describeChannel("bytes_total", "Bytes relayed: sent to the channel, received from it.", "direction")
	channelUp              = describeChannel("up", "1 if the channel is in service and up as far as is known; 0 in every state in which it is not, such as down, failing or held off.")
	channelState           = describeChannel("state", "1 for the state that the channel is in. There is no series for the others.", "state")
	channelChanged         = describeChannel("state_changed_timestamp_seconds", "When the channel came into its state, if that is known.")
	channelChecks          = describeChannel("checks_total", "Checks of the channel, by what came of them.", "outcome")
	channelCheckDuration   = describeChannel("check_duration_seconds", "How long checks of the channel took that passed.")
	channelMaxConns        = describeChannel("maxc", "Most sessions that the channel may have at a time; 0 = no limit.")
	channelWeight          = describeChannel("weight", "Share of the channel among those of its group; 0 = no new clients.")
	channelGroup           = describeChannel("group", "Number of the group that the channel is in.")

	listenerAccepted = describeListener("accepted_total", "Clients accepted.")
	listenerRejected = describeListener("rejected_total", "Clients accepted for whom no channel was found.", "reason")
	listenerRefused  = describeListener("refused_total", "Clients that were not let in.", "reason")
	listenerGreeting = describeListener("greeting", "Clients in their greeting: their PROXY header or ClientHello is awaited.")
	listenerGreets   = describeListener("max_greeting", "Most clients that may be in their greeting at a time.")
	listenerSources  = describeListener("sources", "Sources of clients that are kept for their limits.")
	listenerUsable   = describeListener("usable", "1 if there is a channel that a client could be given, at once or when a slot is free.")
	listenerMax      = describeListener("max_sessions", "Most sessions that the listener may have at a time; 0 = no limit.")
	listenerEnded    = describeListener("sessions_ended_total", "Sessions that have ended, by whom and how.", "by", "how")
	listenerActive   = describeListener("active", "Clients accepted whose session has not ended.")
	listenerWaiting  = describeListener("waiting", "Clients that wait for a slot.")
	listenerWaits    = describeListener("wait_seconds", "How long clients waited for a slot that got one.")

	configSuccessful = describe("config_last_reload_successful", "1 if the last reload, or else the start, succeeded.")
	configTimestamp  = describe("config_last_reload_timestamp_seconds", "When the last reload, or else the start, was.")
	configGeneration = describe("config_generation", "How many configurations have been in force.")

	mostSessions     = describe("max_sessions", "Most sessions that there may be at a time.")
	bufferedBytes    = describe("buffered_bytes", "Size of the buffers and pipes whose bytes wait for receivers that do not take them.")
	sourcesEvicted   = describe("sources_evicted_total", "Sources of clients that were forgotten early, for want of room.")
	sourcesUntracked = describe("sources_untracked_total", "Clients whose source was not counted, for want of room.")
	loopSessions     = describe("loop_sessions", "Sessions that the event loop holds.", "loop")

	logLost = describe("log_messages_lost_total", "Log messages that were dropped because nobody read the log, or that could not be written.")

	buildInfo = describe("build_info", "1, labelled with the version.", "version", "goversion")
)

// Describe implements prometheus.Collector.
func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		channelConnections, channelActive, channelConnectErrors, channelConnectDuration,
		channelBytes, channelUp, channelState, channelChanged, channelChecks, channelCheckDuration,
		channelMaxConns, channelWeight, channelGroup,
		listenerAccepted, listenerUsable, listenerRejected, listenerEnded, listenerMax, listenerActive,
		listenerWaiting, listenerWaits, listenerRefused, listenerGreeting, listenerGreets, listenerSources,
		configSuccessful, configTimestamp, configGeneration,
		mostSessions, bufferedBytes, sourcesEvicted, sourcesUntracked, loopSessions, logLost, buildInfo,
	} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	snapshot := c.daemon.Engine.Snapshot()
	for i := range snapshot.Listeners {
		collectListener(metrics, &snapshot.Listeners[i])
	}
	last := c.daemon.lastReload()
	gauge(metrics, configSuccessful, number(last.OK()))
	gauge(metrics, configTimestamp, float64(last.Time.UnixMilli())/1000)
	gauge(metrics, configGeneration, float64(snapshot.Generation))
	gauge(metrics, mostSessions, float64(snapshot.MaxSessions))
	gauge(metrics, bufferedBytes, float64(snapshot.Buffered))
	counter(metrics, sourcesEvicted, snapshot.Evicted)
	counter(metrics, sourcesUntracked, snapshot.Untracked)
	for i, n := range snapshot.Loops {
		gauge(metrics, loopSessions, float64(n), strconv.Itoa(i))
	}
	counter(metrics, logLost, c.daemon.MessagesLost())
	gauge(metrics, buildInfo, 1, c.daemon.Version, runtime.Version())
}

func collectListener(metrics chan<- prometheus.Metric, l *engine.ListenerStatus) {
	counter(metrics, listenerAccepted, l.Accepted, l.Name)
	gauge(metrics, listenerUsable, number(l.Usable), l.Name)
	for reason, n := range l.Reasons {
		counter(metrics, listenerRejected, n, l.Name, balancer.Rejection(reason).String())
	}
	for why := admit.Admitted + 1; why < admit.Refusals; why++ {
		counter(metrics, listenerRefused, l.Refused[why], l.Name, why.String())
	}
	gauge(metrics, listenerGreeting, float64(l.Greeting), l.Name)
	gauge(metrics, listenerGreets, float64(l.MostGreeting), l.Name)
	gauge(metrics, listenerSources, float64(l.Sources), l.Name)
	for cause := plane.Cause(1); cause < plane.Causes; cause++ {
		counter(metrics, listenerEnded, l.Ended[cause], l.Name, cause.By(), cause.How())
	}
	gauge(metrics, listenerMax, float64(l.MaxSessions), l.Name)
	gauge(metrics, listenerActive, float64(l.Active), l.Name)
	gauge(metrics, listenerWaiting, float64(l.Waiting), l.Name)
	durations(metrics, listenerWaits, l.Waits, l.Name)
	for group := range l.Groups {
		for i := range l.Groups[group].Channels {
			collectChannel(metrics, l.Name, group, &l.Groups[group].Channels[i])
		}
	}
}

func collectChannel(metrics chan<- prometheus.Metric, listener string, group int, c *engine.ChannelStatus) {
	key := c.Key.String()
	counter(metrics, channelConnections, c.Sessions, listener, key, c.Name)
	gauge(metrics, channelActive, float64(c.Active), listener, key, c.Name)
	for f := range balancer.Failures {
		counter(metrics, channelConnectErrors, c.Dials.Failed(f), listener, key, c.Name, f.String())
	}
	durations(metrics, channelConnectDuration, &c.Dials.Durations, listener, key, c.Name)
	counter(metrics, channelBytes, c.Sent, listener, key, c.Name, "sent")
	counter(metrics, channelBytes, c.Received, listener, key, c.Name, "received")
	gauge(metrics, channelUp, number(c.State.Up()), listener, key, c.Name)
	gauge(metrics, channelState, 1, listener, key, c.Name, c.State.String())
	if !c.Since.IsZero() {
		gauge(metrics, channelChanged, float64(c.Since.UnixMilli())/1000, listener, key, c.Name)
	}
	if c.Check != nil {
		for outcome := range health.Outcomes {
			counter(metrics, channelChecks, c.Check.Results[outcome], listener, key, c.Name, outcome.String())
		}
		durations(metrics, channelCheckDuration, c.Check.Durations, listener, key, c.Name)
	}
	gauge(metrics, channelMaxConns, float64(c.Limit), listener, key, c.Name)
	gauge(metrics, channelWeight, float64(c.Weight), listener, key, c.Name)
	gauge(metrics, channelGroup, float64(group), listener, key, c.Name)
}

func counter(metrics chan<- prometheus.Metric, desc *prometheus.Desc, value uint64, labels ...string) {
	metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
}

func gauge(metrics chan<- prometheus.Metric, desc *prometheus.Desc, value float64, labels ...string) {
	metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

func durations(metrics chan<- prometheus.Metric, desc *prometheus.Desc, h *balancer.Histogram, labels ...string) {
	upTo, count, sum := h.Read()
	buckets := make(map[float64]uint64, len(upTo))
	for i, n := range upTo {
		buckets[balancer.Bounds[i].Seconds()] = n
	}
	metrics <- prometheus.MustNewConstHistogram(desc, count, sum.Seconds(), buckets, labels...)
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
