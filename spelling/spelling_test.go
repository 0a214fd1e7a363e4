package spelling

import "testing"

func TestNearest(t *testing.T) {
	known := []string{"channels", "check", "mode", "w1", "w2"}
	for word, want := range map[string]string{
		"chanels": "channels", "channels": "channels", "Check": "check", "moed": "mode", "w3": "w1",
		"something else": "", "rr": "", "": "w1",
	} {
		if near, ok := Nearest(word, known); near != want || ok != (want != "") {
			t.Errorf("%q is taken for %q, %t, want %q", word, near, ok, want)
		}
	}
	if near, ok := Nearest("w1", nil); ok {
		t.Errorf("of no words %q is the nearest", near)
	}
}
