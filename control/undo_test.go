package control

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"balance/engine/spec"
)

func TestHistory(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	client := r.dial()
	const table = "  #               since changes  what, by whom\n" +
		"  1 2026-01-02T03:04:05       3  start, by file\n" +
		"* 2 2026-01-02T03:04:06      12  rollback to 1, by ann (7), control"
	for _, c := range []struct {
		request, want string
		status        Status
	}{
		{"history", table, OK},
		{"history 9", "there is no configuration 9", Failed},
		{"history 0", "syntax error", Misused},
		{"history 1 2", "syntax error", Misused},
		{"history -x", "syntax error", Misused},
		{"history 2", " #               since changes  what, by whom\n" +
			"* 2 2026-01-02T03:04:06      12  rollback to 1, by ann (7), control\nwhat changed from 1 to 2:\nnothing", OK},
		{"history 1", "what rollback 1 would change now:\n+ listener x", OK},
		{"rollback", "- listener x\nrolled back to 1, which is now 3", OK},
		{"rollback 9", "configuration 9:1: bad", Failed},
		{"rollback x", "syntax error", Misused},
		{"rollback 2 -write", "rolled back to 2, which is now 3\n/etc/balance.toml says so, too; what it said before is in /etc/balance.toml.bak", OK},
		{"confirm", "change 7 confirmed", OK},
	} {
		got, status := r.say(client, c.request)
		if !strings.Contains(strings.TrimSuffix(got, "\n"), c.want) || status != c.status {
			t.Errorf("%s: status %d\n%s\nwant %d\n%s", c.request, status, got, c.status, c.want)
		}
	}
	got, _ := r.say(client, "history -json")
	var list []Configuration
	if err := json.Unmarshal([]byte(got), &list); err != nil || len(list) != 2 || list[1].By != "ann (7), control" || !list[1].InForce {
		t.Errorf("%s: %v", got, err)
	}
	got, _ = r.say(client, "history 1 -json")
	var one Comparison
	if err := json.Unmarshal([]byte(got), &one); err != nil || one.Number != 1 || len(one.Rollback) != 1 {
		t.Errorf("%s: %v", got, err)
	}
	if got, _ := r.say(client, `complete "rollback "`); strings.Fields(got)[0] != "1" {
		t.Errorf("completions of rollback: %q", got)
	}
	r.differs.Store(true)
	if got, _ := r.say(client, "rollback"); !strings.Contains(got, `/etc/balance.toml differs from what is in force`) || !strings.Contains(got, `"rollback 3 -write"`) {
		t.Errorf("%s", got)
	}
	if got, _ := r.say(client, "status"); !strings.Contains(got, "\ndiffers ") || strings.Contains(got, "\nunconfirmed ") {
		t.Errorf("%s", got)
	}
	r.waiting.Store(&Unconfirmed{Number: 7, Back: 6, By: "ann (7), control", Why: "reload", Since: time.Now(), Until: time.Now().Add(time.Hour)})
	for _, request := range []string{"status", "reload"} {
		if got, _ := r.say(client, request); !strings.Contains(got, "change 7 (reload, by ann (7), control) is undone at ") {
			t.Errorf("%s: %s", request, got)
		}
	}
}

// The daemon is told of each command that changes the configuration, and of no other.
func TestEditsAreTold(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	client := r.dial()
	for _, request := range []string{"show", "disable 0", "enable 0", "maxc 7 1"} {
		r.say(client, request)
		if told := r.edits.Load(); told != nil {
			t.Errorf("%s: %q", request, *told)
		}
	}
	r.say(client, "ma 0 4")
	if told := r.edits.Load(); told == nil || *told != "web: ma 0 4" {
		t.Errorf("%v", told)
	}
}

// A file is opened by the client, and sent in pieces of any number.
func TestApply(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	client := r.dial()
	dir := t.TempDir()
	file := func(name string, size int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Repeat("x", size)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, size := range []int{0, 1, pieceSize, pieceSize + 1, MaxSent} {
		path := file("some file", size)
		got, status := r.say(client, fmt.Sprintf("apply %q confirm 90s", path))
		applied := r.applied.Load()
		if status != OK || applied == nil || applied.name != path || len(applied.data) != size || applied.within != 90*time.Second {
			t.Errorf("%d bytes: status %d, %s", size, status, got)
		}
	}
	if got, status := r.say(client, "apply "+file("large", MaxSent+1)); status != Failed || !strings.Contains(got, "it is larger than 1048576 bytes") {
		t.Errorf("%s", got)
	}
	if got, status := r.say(client, "apply "+filepath.Join(dir, "none")); status != Failed || !strings.Contains(got, "no such file") {
		t.Errorf("%s", got)
	}
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("bad"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, status := r.say(client, "apply "+bad); status != Failed || got != bad+":1: bad\n"+bad+":2: worse\n" && got != bad+":1: bad\n"+bad+":2: worse" {
		t.Errorf("%q", got)
	}
	for _, wrong := range []string{"confirm", "confirm 0s", "confirm 25h", "confirm 5", "confirms 5s"} {
		r.applied.Store(nil)
		if _, status := r.say(client, "apply "+bad+" "+wrong); status == OK || r.applied.Load() != nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}

// The daemon opens no file that a client names, and takes what was sent once.
func TestApplyOfNothing(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	c := r.server.converse(credentials{true, 0, nil})
	defer c.reply.release()
	if lines, status := ask(c, "apply /etc/passwd"); status != Failed || !strings.Contains(lines[0], "no file was sent") {
		t.Errorf("%q", lines)
	}
	ask(c, "piece "+base64.StdEncoding.EncodeToString([]byte("good")))
	if lines, status := ask(c, "apply x"); status != OK {
		t.Errorf("%q", lines)
	}
	if lines, status := ask(c, "apply x"); status != Failed {
		t.Errorf("twice: %q", lines)
	}
	if _, status := ask(c, "piece ???"); status != Misused {
		t.Error("what is no base64 is taken")
	}
}

// Who is no owner brings the daemon no configuration: it could name programs to
// run, and files to read.
func TestApplyIsForOwners(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	r.server.access.Store(&Access{0o600, 7, 8})
	piece := "piece " + base64.StdEncoding.EncodeToString([]byte("good"))
	for _, c := range []struct {
		who  credentials
		want Status
	}{
		{credentials{true, 0, nil}, OK},
		{credentials{true, os.Geteuid(), nil}, OK},
		{credentials{true, os.Geteuid() + 1, []int{7}}, Failed},
		{credentials{true, os.Geteuid() + 1, []int{8}}, Failed},
		{credentials{}, Failed}, // the file has let it in, which may be one of a group
	} {
		conversation := r.server.converse(c.who)
		ask(conversation, piece)
		if lines, status := ask(conversation, "apply x"); status != c.want {
			t.Errorf("%+v: %q", c.who, lines)
		}
		conversation.forget()
	}
}

// What was sent takes room as an answer does, and gives it back.
func TestSentTakesRoom(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	room := &r.server.rooms[owner]
	c := r.server.converse(credentials{true, 0, nil})
	piece := "piece " + base64.StdEncoding.EncodeToString(make([]byte, pieceSize))
	for range MaxSent / pieceSize {
		if lines, status := ask(c, piece); status != OK {
			t.Fatalf("%q", lines)
		}
	}
	if room.used != cap(c.sent) || room.used > MaxSent {
		t.Errorf("%d bytes are taken for %d", room.used, cap(c.sent))
	}
	if lines, status := ask(c, piece); status != Failed || !strings.Contains(lines[0], "at most 1048576 bytes") || room.used != 0 {
		t.Errorf("too much: %q, %d bytes are taken", lines, room.used)
	}
	room.take(0, roleRoom, roleRoom)
	if lines, status := ask(c, piece); status != Failed || lines[0] != errBusy || c.sent != nil {
		t.Errorf("without room: %q", lines)
	}
	room.give(0, roleRoom)
}

func TestNothing(t *testing.T) {
	if got := orNothing(nil) + orNothing(spec.Changes{{Sign: spec.Added, Listener: "x"}}); got != "nothing+ listener x\n" {
		t.Errorf("%q", got)
	}
}
