package hostdir

import (
	"fmt"
	"os"
	"testing"
)

// ways are the ways in which lower files can be known and reached.
var ways = map[string]func(*Dir){
	"by handle":  func(d *Dir) {},
	"by name":    func(d *Dir) { d.byHandle = false },
	"no handles": func(d *Dir) { d.byHandle, d.handles = false, false },
}

func TestRandomOps(t *testing.T) {
	for name, tweak := range ways {
		for seed := range uint64(4) {
			t.Run(fmt.Sprintf("%s/seed %d", name, seed), func(t *testing.T) {
				r := newRig(t)
				r.tweak = tweak
				tweak(r.dir)
				g := newRandom(r, seed)
				for i := range 900 {
					op := g.op()
					if op == nil {
						continue
					}
					if err := r.try(op); err != nil {
						t.Fatalf("op %d: %s %+v: %v", i, op.Kind, op, err)
					}
					if i%150 == 0 {
						r.compare()
					}
					if i%200 == 199 {
						if i%400 == 199 {
							r.close()
							r.open(false)
						} else {
							r.crash()
						}
					}
				}
				r.compare()
				if len(r.foreign) > 0 || r.dir.Stats().Kept > 0 {
					t.Fatalf("foreign changes seen where there were none: %v, kept %d", r.foreign, r.dir.Stats().Kept)
				}
				if os.Getuid() == 0 && r.dir.Stats().Refusals() {
					t.Fatalf("refusals: %+v", r.dir.Stats())
				}
			})
		}
	}
}
