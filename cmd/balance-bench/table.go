//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"balance/cmd/balance-bench/internal/load"
	"balance/cmd/balance-bench/internal/peers"
)

// report is everything a run found out.
type report struct {
	Machine  string   `json:"machine"`
	Versions []string `json:"versions"`
	Settings string   `json:"settings"`
	// Workloads are in the order of the table.
	Workloads []*block `json:"workloads"`
	Notes     []string `json:"notes,omitempty"`
}

// block is one workload of the table.
type block struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	Rows  []*row `json:"rows"`

	workload load.Workload
}

// row is one proxy in one workload.
type row struct {
	Proxy   string  `json:"proxy"`
	Figures []*cell `json:"figures"`

	ours, again bool // as of peers.Proxy
}

// cell is one figure of one row.
type cell struct {
	figure
	// Median is that of Rounds. Ratio is it over the best peer's or, in an
	// A/A row, over that of the row it repeats; nil where there is none.
	Median    float64    `json:"median"`
	Quartiles [2]float64 `json:"quartiles"`
	Ratio     *float64   `json:"ratio,omitempty"`
	Rounds    []float64  `json:"rounds"`
}

func newReport(o options, ws []load.Workload, notes []string) *report {
	length := fmt.Sprintf("%v a cell", o.duration)
	if o.count > 0 {
		length = fmt.Sprintf("%d units a cell", o.count)
	}
	r := &report{
		Machine:  machine(),
		Settings: fmt.Sprintf("medians, rounds: %d, %s, threads of a proxy: %d", o.rounds, length, o.threads),
		Notes:    notes,
	}
	for _, w := range ws {
		r.Workloads = append(r.Workloads, &block{Name: w.Name, Title: w.Title, workload: w})
	}
	return r
}

func machine() string {
	text := fmt.Sprintf("%d CPUs, %s, %s", runtime.NumCPU(), runtime.GOARCH, runtime.Version())
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		text = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + ", " + text
	}
	// It decides how bulk behaves, and differs from one distribution to another.
	if name, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control"); err == nil {
		text += ", " + strings.TrimSpace(string(name))
	}
	return text
}

// note keeps texts, the same one once.
func (r *report) note(texts ...string) {
	for _, text := range texts {
		if !slices.Contains(r.Notes, text) {
			r.Notes = append(r.Notes, text)
		}
	}
}

// add makes a row for x in the blocks of the workloads.
func (r *report) add(x peers.Proxy, ws []load.Workload) {
	if !slices.Contains(r.Versions, x.Version) {
		r.Versions = append(r.Versions, x.Version)
	}
	for _, w := range ws {
		b := r.block(w)
		b.Rows = append(b.Rows, &row{Proxy: x.Name, ours: x.Ours, again: x.Again})
	}
}

func (r *report) block(w load.Workload) *block {
	return r.Workloads[slices.IndexFunc(r.Workloads, func(b *block) bool { return b.Name == w.Name })]
}

// sample puts what one cell measured into its row.
func (r *report) sample(w load.Workload, name string, s load.Sample) {
	b := r.block(w)
	row := b.Rows[slices.IndexFunc(b.Rows, func(x *row) bool { return x.Proxy == name })]
	for i, f := range figures(w, s) {
		if i == len(row.Figures) {
			row.Figures = append(row.Figures, &cell{figure: f})
		}
		c := row.Figures[i]
		c.Rounds = append(c.Rounds, f.Value)
	}
}

// finish computes the medians and the ratios.
func (r *report) finish() {
	for _, b := range r.Workloads {
		for _, row := range b.Rows {
			for _, c := range row.Figures {
				c.Median = median(c.Rounds)
				c.Quartiles = [2]float64{quantile(c.Rounds, 0.25), quantile(c.Rounds, 0.75)}
			}
		}
		for i, f := range b.columns() {
			if !f.Alone {
				b.compare(i)
			}
		}
	}
}

// columns are the figures of the row that has most.
func (b *block) columns() []figure {
	columns := figures(b.workload, load.Sample{})
	for _, row := range b.Rows {
		for _, c := range row.Figures[min(len(columns), len(row.Figures)):] {
			columns = append(columns, c.figure)
		}
	}
	return columns
}

// compare computes the ratios of figure i.
func (b *block) compare(i int) {
	var theirs []float64
	most := false
	for _, row := range b.Rows {
		if i < len(row.Figures) && !row.ours && !row.again {
			theirs = append(theirs, row.Figures[i].Median)
			most = row.Figures[i].Most
		}
	}
	base := best(theirs, most)
	for _, row := range b.Rows {
		if i >= len(row.Figures) {
			continue
		}
		to := base
		if row.again {
			// It repeats the first row.
			if i >= len(b.Rows[0].Figures) {
				continue
			}
			to = b.Rows[0].Figures[i].Median
		}
		if x := ratio(row.Figures[i].Median, to); !math.IsNaN(x) {
			row.Figures[i].Ratio = &x
		}
	}
}

func (r *report) writeJSON(w io.Writer) error {
	r.finish()
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeTable prints the table with a block of lines for each workload.
func (r *report) writeTable(out io.Writer) error {
	r.finish()
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n%s\n%s; × is the ratio to the best peer\n", r.Machine, strings.Join(r.Versions, "; "), r.Settings)
	for _, b := range r.Workloads {
		fmt.Fprintf(&text, "\n%s: %s\n", b.Name, b.Title)
		w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
		// Aligned to the right, every column begins with the gap before it.
		columns := b.columns()
		for _, f := range columns {
			fmt.Fprintf(w, "\t%s %s", f.Name, f.Unit)
			if f.Spread {
				fmt.Fprint(w, "\tquartiles")
			}
			if !f.Alone {
				fmt.Fprint(w, "\t×")
			}
		}
		fmt.Fprint(w, "\t\n")
		for _, row := range b.Rows {
			fmt.Fprint(w, row.Proxy)
			for i, f := range columns {
				value, spread, times := "–", "–", "–"
				if i < len(row.Figures) {
					c := row.Figures[i]
					value, spread = number(c.Median), number(c.Quartiles[0])+"–"+number(c.Quartiles[1])
					if c.Ratio != nil {
						times = number(*c.Ratio)
					}
				}
				fmt.Fprintf(w, "\t%s", value)
				if f.Spread {
					fmt.Fprintf(w, "\t%s", spread)
				}
				if !f.Alone {
					fmt.Fprintf(w, "\t%s", times)
				}
			}
			fmt.Fprint(w, "\t\n")
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	for i, note := range r.Notes {
		if i == 0 {
			text.WriteString("\n")
		}
		fmt.Fprintf(&text, "note: %s\n", note)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// number shows two to four digits of x, and all before the point.
func number(x float64) string {
	switch size := math.Abs(x); {
	case size >= 100:
		return fmt.Sprintf("%.0f", x)
	case size >= 10:
		return fmt.Sprintf("%.1f", x)
	case size >= 0.1 || size == 0:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.2g", x)
}
