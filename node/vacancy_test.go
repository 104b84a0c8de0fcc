package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"wolfdisk/volume"
)

// A change that comes while the connection to the leader is lost waits: until another leads, to be
// asked again, or until the leader is there again, to be refused.
func TestVacancyOfDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVacancy()
		v.end()
		waits := func(after time.Duration, then func()) (time.Duration, error) {
			if !v.held() {
				t.Fatal("nothing is held")
			}
			turn, began := v.turn(), time.Now()
			go func() {
				time.Sleep(after)
				then()
			}()
			err := v.wait(context.Background(), turn)
			return time.Since(began), err
		}
		if v.held() {
			t.Error("held while there is a leader")
		}
		v.lost()
		if took, err := waits(time.Second, v.back); err != volume.ReadOnly || took != time.Second {
			t.Errorf("the leader is back: %v after %s", err, took)
		}
		if v.held() {
			t.Error("held when the leader is back")
		}
		v.lost()
		if took, err := waits(time.Second, v.end); err != nil || took != time.Second {
			t.Errorf("another leads: %v after %s", err, took)
		}
		// What is known to be one does not end because some connection is there again.
		v.lost()
		v.begin(false)
		if took, err := waits(time.Second, v.back); err != volume.ReadOnly || took != holdFor {
			t.Errorf("nobody leads: %v after %s", err, took)
		}
	})
}
