package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestProcessors has as many processors as the loops need, and never fewer than
// the process was given.
func TestProcessors(t *testing.T) {
	for _, test := range []struct{ given, loops, want int }{{2, 3, 4}, {2, 0, 3}, {7, 3, 7}} {
		t.Run(fmt.Sprintf("%dLoopsOf%d", test.loops, test.given), func(t *testing.T) {
			page, err := freeAddress()
			if err != nil {
				t.Fatal(err)
			}
			listen, err := freeAddress()
			if err != nil {
				t.Fatal(err)
			}
			file := t.TempDir() + "/balance.toml"
			loops := ""
			if test.loops > 0 {
				loops = fmt.Sprintf("loops = %d\n", test.loops)
			}
			writeFile(t, file, fmt.Sprintf("[defaults]\ndata_plane = \"eventloop\"\n%s[control]\nhttp = %q\n[[listener]]\nlisten = %q\ngroup = [{ channels = [\"127.0.0.1:1\"] }]\n",
				loops, page, listen))
			startLogged(t, "env", fmt.Sprintf("GOMAXPROCS=%d", test.given), "balance", "-config", file)
			want := fmt.Sprintf("\ngo_sched_gomaxprocs_threads %d\n", test.want)
			metrics := ""
			for end := time.Now().Add(patience); !strings.Contains(metrics, want); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("the metrics have no %q:\n%s", want, metrics)
				}
				answer, err := http.Get("http://" + page.String() + "/metrics")
				if err != nil {
					continue
				}
				all, _ := io.ReadAll(answer.Body)
				answer.Body.Close()
				metrics = string(all)
			}
		})
	}
}
