package web

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"balance/engine/balancer"
	"balance/engine/health"
)

// vocabulary is what an expression may be about: the labels of each metric, and
// the values of those labels that have a fixed set of them.
type vocabulary struct {
	labels map[string][]string
	values map[string][]string
}

func newVocabulary() vocabulary {
	v := vocabulary{map[string][]string{"up": nil}, map[string][]string{"direction": {"sent", "received"}}}
	for _, source := range []prometheus.Collector{
		new(collector), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		descs := make(chan *prometheus.Desc, 1000)
		source.Describe(descs)
		close(descs)
		for desc := range descs {
			found := regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{(.*)\}\}$`).FindStringSubmatch(desc.String())
			v.labels[found[1]] = strings.FieldsFunc(found[2], func(r rune) bool { return r == ',' })
		}
	}
	for s := balancer.StateUp; s <= balancer.StateRemoved; s++ {
		v.values["state"] = append(v.values["state"], s.String())
	}
	for outcome := range health.Outcomes {
		v.values["outcome"] = append(v.values["outcome"], outcome.String())
	}
	for reason := range balancer.Rejections {
		v.values["reason"] = append(v.values["reason"], balancer.Rejection(reason).String())
	}
	for f := range balancer.Failures {
		v.values["reason"] = append(v.values["reason"], f.String())
	}
	return v
}

// of returns the labels that series of the name bear, with those that Prometheus
// gives them, or that there are none. A histogram has series by other names than
// its own.
func (v vocabulary) of(series string) (labels []string, ok bool) {
	metric := series
	var more []string
	if isHistogram(strings.TrimSuffix(series, "_bucket")) {
		metric, ok = strings.CutSuffix(series, "_bucket")
		if more = []string{"le"}; !ok {
			return nil, false
		}
	}
	labels, ok = v.labels[metric]
	return slices.Concat(labels, more, []string{"instance", "job"}), ok
}

func isHistogram(metric string) bool {
	return strings.HasPrefix(metric, "balance_") && strings.HasSuffix(metric, "_seconds") && !strings.HasSuffix(metric, "_timestamp_seconds")
}

var (
	metricName = regexp.MustCompile(`\b((?:balance|process)_[a-z0-9_]+|up)\b(?:\{([^}]*)\})?`)
	matcher    = regexp.MustCompile(`(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"`)
	grouping   = regexp.MustCompile(`\b(?:by|without|on|ignoring) \(([^)]*)\)`)
	template   = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}`)
)

// faults tells what is wrong with an expression, beside which may stand the texts
// in which the labels of its result are named.
func (v vocabulary) faults(text string) (faults []string) {
	var all []string // labels of any metric of the expression
	metrics := metricName.FindAllStringSubmatch(text, -1)
	if metrics == nil {
		return []string{"there is no metric at all"}
	}
	for _, found := range metrics {
		labels, ok := v.of(found[1])
		if !ok {
			faults = append(faults, "there is no metric "+found[1])
			continue
		}
		all = append(all, labels...)
		for _, m := range matcher.FindAllStringSubmatch(found[2], -1) {
			label, operator, value := m[1], m[2], m[3]
			if !slices.Contains(labels, label) {
				faults = append(faults, found[1]+" has no label "+label)
			}
			values, fixed := v.values[label]
			if !fixed || strings.HasPrefix(value, "$") {
				continue
			}
			alternatives := []string{value}
			if strings.HasSuffix(operator, "~") {
				alternatives = strings.Split(value, "|")
			}
			for _, a := range alternatives {
				if !slices.Contains(values, a) {
					faults = append(faults, label+" is never "+a)
				}
			}
		}
	}
	var named []string
	for _, found := range grouping.FindAllStringSubmatch(text, -1) {
		named = append(named, strings.FieldsFunc(found[1], func(r rune) bool { return strings.ContainsRune(", ", r) })...)
	}
	for _, found := range template.FindAllStringSubmatch(text, -1) {
		named = append(named, found[1])
	}
	for _, label := range named {
		if !slices.Contains(all, label) {
			faults = append(faults, "no metric here has a label "+label)
		}
	}
	return faults
}

// TestVocabulary has texts with a fault each.
func TestVocabulary(t *testing.T) {
	v := newVocabulary()
	if faults := v.faults(`sum by (listener, le) (rate(balance_listener_wait_seconds_bucket{listener=~"$listener"}[5m])) {{ $labels.listener }}`); faults != nil {
		t.Error(faults)
	}
	for _, text := range []string{
		`balance_listener_unusable == 0`, `balance_listener_usable_bucket`, `balance_listener_wait_seconds`, `process_nothing`, `1 + 1`,
		`balance_listener_usable{channel="x"}`, `balance_channel_state{state="dead"}`,
		`balance_listener_rejected_total{reason=~"full|fuller"}`,
		`sum by (channel) (balance_listener_usable)`, `balance_listener_usable {{ $labels.channel }}`,
	} {
		if faults := v.faults(text); len(faults) != 1 {
			t.Errorf("%s: %q", text, faults)
		}
	}
}

// The examples for Prometheus name metrics, labels and values that there are.
func TestPrometheusExamples(t *testing.T) {
	v := newVocabulary()
	for path, separator := range map[string]string{
		"../../examples/prometheus-rules.yml":      "- alert:",
		"../../examples/prometheus-rules-test.yml": "- series:",
	} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(string(data), separator)[1:]
		if len(parts) < 10 {
			t.Errorf("%s: %d times %q", path, len(parts), separator)
		}
		for _, part := range parts {
			if separator == "- series:" { // what follows is about alerts
				part, _, _ = strings.Cut(part, "\n")
			}
			for _, fault := range v.faults(part) {
				t.Errorf("%s: %s in%s", path, fault, part)
			}
		}
	}
}

// TestPrometheusRules runs the tests of the rules, which have to be about each.
func TestPrometheusRules(t *testing.T) {
	rules, err := os.ReadFile("../../examples/prometheus-rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("../../examples/prometheus-rules-test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		test := regexp.MustCompile(`alertname: ` + alert[1] + `\n\s+exp_alerts:\n`)
		if !test.Match(tests) {
			t.Errorf("no test sees %s", alert[1])
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("there is no promtool")
	}
	for _, args := range [][]string{
		{"check", "rules", "prometheus-rules.yml"},
		{"check", "config", "prometheus.yml"},
		{"test", "rules", "prometheus-rules-test.yml"},
	} {
		command := exec.CommandContext(t.Context(), promtool, args...)
		command.Dir = "../../examples"
		if output, err := command.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, output)
		}
	}
}

// TestGrafanaDashboard holds each query of the dashboard against the metrics, and
// looks for those that somebody on call asks for first.
func TestGrafanaDashboard(t *testing.T) {
	data, err := os.ReadFile("../../examples/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	type source struct{ Type, UID string }
	type query struct {
		Datasource                source
		Expr, LegendFormat, RefID string
	}
	var dashboard struct {
		Title, UID    string
		SchemaVersion int
		Templating    struct {
			List []struct{ Name, Type, Definition string }
		}
		Annotations struct{ List []query }
		Panels      []struct {
			ID          int
			Type, Title string
			Datasource  source
			GridPos     struct{ X, Y, W, H int }
			Targets     []query
		}
	}
	if err := json.Unmarshal(data, &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.Title == "" || dashboard.UID == "" || dashboard.SchemaVersion < 36 || len(dashboard.Panels) == 0 {
		t.Errorf("%+v", dashboard)
	}
	v := newVocabulary()
	variables := map[string]bool{"__rate_interval": true}
	for _, variable := range dashboard.Templating.List {
		variables[variable.Name] = true
		if variable.Type == "query" {
			for _, fault := range v.faults(variable.Definition) {
				t.Errorf("the variable %s: %s", variable.Name, fault)
			}
		}
	}
	if !variables["datasource"] {
		t.Error("the source of data cannot be chosen")
	}
	for _, found := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(string(data), -1) {
		if !variables[found[1]] && found[1] != "__all" {
			t.Errorf("there is no variable %s", found[1])
		}
	}
	queries := dashboard.Annotations.List
	ids := map[int]bool{}
	taken := map[[2]int]string{}
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] || panel.Title == "" {
			t.Errorf("panel %d %q", panel.ID, panel.Title)
		}
		ids[panel.ID] = true
		for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
			for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
				if other, both := taken[[2]int{x, y}]; both || x >= 24 {
					t.Errorf("%q overlaps %q", panel.Title, other)
				}
				taken[[2]int{x, y}] = panel.Title
			}
		}
		if (panel.Type == "row") != (len(panel.Targets) == 0) {
			t.Errorf("%q: %d queries", panel.Title, len(panel.Targets))
		}
		queries = append(queries, panel.Targets...)
	}
	var expressions strings.Builder
	for _, q := range queries {
		if q.Datasource != (source{"prometheus", "${datasource}"}) {
			t.Errorf("%s: asks %v", q.Expr, q.Datasource)
		}
		for _, fault := range v.faults(q.Expr + " " + q.LegendFormat) {
			t.Errorf("%s: %s", q.Expr, fault)
		}
		expressions.WriteString(q.Expr + "\n")
	}
	for _, metric := range []string{
		"balance_listener_usable", "balance_listener_active", "balance_listener_accepted_total", "balance_listener_waiting",
		"balance_listener_rejected_total", "balance_channel_connect_errors_total", "balance_channel_connect_duration_seconds_bucket",
		"balance_channel_state", "balance_channel_bytes_total", "balance_log_messages_lost_total",
		"balance_config_last_reload_successful", `state="held off"`,
	} {
		if !strings.Contains(expressions.String(), metric) {
			t.Errorf("nothing shows %s", metric)
		}
	}
}
