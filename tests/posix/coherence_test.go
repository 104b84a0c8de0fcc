//go:build linux

package posix

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"wolfdisk/tests/cluster"
)

// An object of the coherence test goes through states 1, 2, 3 ...; every way of looking at
// it tells the state, or whether that is odd. Three counters in memory that all processes
// share say how far it is:
//
//	begun   the state that the changer has begun to make
//	done    the state for which its call has returned
//	floor   a state that was done before the follower said it had applied everything
//	        up to then
//
// Who looks reads floor before (on the leader: done) and begun after. What he sees must
// lie between them: below is stale, above is from nowhere.
type object struct{ begun, done, floor atomic.Uint64 }

// board is the shared memory.
type board struct {
	stop    atomic.Uint64
	changes atomic.Uint64
	objects [coherenceObjects]object
}

const coherenceObjects = 80 // ten of each kind

func openBoard(path string) (*board, error) {
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	size := int(unsafe.Sizeof(board{}))
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		return nil, err
	}
	m, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return (*board)(unsafe.Pointer(&m[0])), nil
}

// kind is a way to bring an object to its next state, and ways to look at it.
type kind struct {
	name  string
	make  func(b *box, o string)                          // state 1
	next  func(b *box, o string, state uint64)            // from state-1
	looks func(b *box, o string) (kept any, looks []look) // what a reader keeps open
}

// look tells the state, or with parity only whether it is odd.
type look struct {
	name   string
	parity bool
	see    func() uint64
	// overtaken: when a notice of a newer change overtakes the answer that the call waits
	// for, the kernel drops the answer and goes on with what it had. So such a look counts
	// only if nothing was changing.
	overtaken bool
}

func contentOf(state uint64) []byte { return []byte(fmt.Sprintf("%020d", state)) }

func parse(b *box, what string, p []byte) uint64 {
	n, err := strconv.ParseUint(string(p), 10, 64)
	b.ok(what, err)
	return n
}

func odd(yes bool) uint64 {
	if yes {
		return 1
	}
	return 0
}

// far is the second place of a file's content.
const far = 300000

var kinds = []kind{
	{name: "content",
		make: func(b *box, o string) {
			fd := b.create(o)
			b.pwrite(fd, 0, contentOf(1))
			b.pwrite(fd, far, contentOf(1))
			b.close(fd)
		},
		next: func(b *box, o string, state uint64) {
			fd := b.open(o, unix.O_WRONLY)
			b.pwrite(fd, 0, contentOf(state))
			b.pwrite(fd, far, contentOf(state))
			b.close(fd)
		},
		looks: func(b *box, o string) (any, []look) {
			fd := b.open(o, unix.O_RDONLY)
			m, err := unix.Mmap(fd, 0, far+20, unix.PROT_READ, unix.MAP_SHARED)
			b.ok("mmap", err)
			at := func(off int64) func() uint64 {
				return func() uint64 { return parse(b, "pread", b.pread(fd, off, 20)) }
			}
			mapped := func() uint64 {
				p := append([]byte(nil), m[far:far+20]...)
				return parse(b, "mapped", p)
			}
			anew := func() uint64 {
				fd := b.open(o, unix.O_RDONLY)
				defer b.close(fd)
				return parse(b, "pread", b.pread(fd, 0, 20))
			}
			return m, []look{{name: "pread", see: at(0)}, {name: "pread far", see: at(far)}, {name: "mapping", see: mapped}, {name: "open and read", see: anew}}
		}},
	{name: "size",
		make: func(b *box, o string) { b.put(o, "x") },
		next: func(b *box, o string, state uint64) { b.ok("truncate", unix.Truncate(b.at(o), int64(state))) },
		looks: func(b *box, o string) (any, []look) {
			fd := b.open(o, unix.O_RDONLY)
			end := func() uint64 {
				at, err := unix.Seek(fd, 0, 2)
				b.ok("lseek", err)
				return uint64(at)
			}
			return nil, []look{{name: "fstat", see: func() uint64 { return uint64(b.fstat(fd).Size) }},
				{name: "stat", see: func() uint64 { return uint64(b.stat(o).Size) }}, {name: "lseek to the end", see: end, overtaken: true}}
		}},
	{name: "attributes",
		make: func(b *box, o string) {
			b.put(o, "x")
			b.chown(o, 1, 1)
			b.ok("utimensat", utimes(unix.AT_FDCWD, b.at(o), omit, unix.Timespec{Sec: 1}, 0))
			b.setx(o, "user.state", "1")
		},
		next: func(b *box, o string, state uint64) {
			switch state % 3 { // one op each, so that each is seen by itself
			case 0:
				b.chown(o, int(state), -1)
			case 1:
				b.ok("utimensat", utimes(unix.AT_FDCWD, b.at(o), omit, unix.Timespec{Sec: int64(state)}, 0))
			default:
				b.setx(o, "user.state", strconv.FormatUint(state, 10))
			}
		},
		looks: func(b *box, o string) (any, []look) {
			fd := b.open(o, unix.O_RDONLY)
			newest := func(st unix.Stat_t) uint64 {
				return max(uint64(st.Uid), uint64(st.Mtim.Sec), parse(b, "xattr", []byte(b.getx(o, "user.state"))))
			}
			return nil, []look{{name: "stat and xattr", see: func() uint64 { return newest(b.stat(o)) }},
				{name: "fstat and xattr", see: func() uint64 { return newest(b.fstat(fd)) }}}
		}},
	{name: "name",
		make: func(b *box, o string) { b.mkdir(o); b.put(o+"/1", "x") },
		next: func(b *box, o string, state uint64) {
			b.rename(fmt.Sprint(o, "/", state-1), fmt.Sprint(o, "/", state))
		},
		looks: func(b *box, o string) (any, []look) {
			fd := b.open(o, unix.O_RDONLY|unix.O_DIRECTORY)
			listed := func(fd int) uint64 {
				list, err := listAll(fd, 4096)
				b.ok("getdents", err)
				state := uint64(0)
				for name := range b.names(list) {
					state = max(state, parse(b, "listed name", []byte(name)))
				}
				return state
			}
			last := uint64(1)
			byName := func() uint64 {
				// Names that are not there yet are asked for again and again, and kept as such;
				// one that has come has to be found, and one that has gone not to be.
				for range 10000 {
					for s := last; s < last+4; s++ {
						if b.exists(fmt.Sprint(o, "/", s)) {
							last = s
							return s
						}
					}
					last = max(last, listed(b.rewound(fd)))
				}
				b.fail("no name of %s can be found", o)
				return 0
			}
			return nil, []look{{name: "lookup", see: byName},
				{name: "rewinddir and readdir", see: func() uint64 { return listed(b.rewound(fd)) }},
				{name: "opendir and readdir", see: func() uint64 {
					fd := b.open(o, unix.O_RDONLY|unix.O_DIRECTORY)
					defer b.close(fd)
					return listed(fd)
				}}}
		}},
	{name: "existence",
		make: func(b *box, o string) { b.put(o, "") },
		next: func(b *box, o string, state uint64) {
			if state%2 == 1 {
				b.close(b.create(o))
			} else {
				b.unlink(o)
			}
		},
		looks: func(b *box, o string) (any, []look) {
			return nil, []look{{name: "lookup", parity: true, see: func() uint64 { return odd(b.exists(o)) }},
				{name: "open", parity: true, see: func() uint64 {
					err := b.try(o, unix.O_RDONLY, 0)
					if err != nil && err != unix.ENOENT {
						b.fail("open: %w", err)
					}
					return odd(err == nil)
				}}}
		}},
	{name: "symlink",
		make: func(b *box, o string) { b.symlink("1", o) },
		next: func(b *box, o string, state uint64) {
			b.symlink(strconv.FormatUint(state, 10), o+".new")
			b.rename(o+".new", o)
		},
		looks: func(b *box, o string) (any, []look) {
			return nil, []look{{name: "readlink", see: func() uint64 {
				buf := make([]byte, 30)
				n, err := unix.Readlink(b.at(o), buf)
				b.ok("readlink", err)
				return parse(b, "target", buf[:n])
			}}}
		}},
	{name: "replaced",
		make: func(b *box, o string) { b.put(o, string(contentOf(1))) },
		next: func(b *box, o string, state uint64) {
			b.put(o+".new", string(contentOf(state)))
			b.rename(o+".new", o)
		},
		looks: func(b *box, o string) (any, []look) {
			return nil, []look{{name: "stat, open and read", see: func() uint64 {
				eq(b, "size", b.stat(o).Size, 20) // there is one at every moment, and it is whole
				fd := b.open(o, unix.O_RDONLY)
				defer b.close(fd)
				return parse(b, "read", b.pread(fd, 0, 30))
			}}}
		}},
	{name: "links",
		make: func(b *box, o string) { b.put(o, "") },
		next: func(b *box, o string, state uint64) {
			if state%2 == 0 {
				b.link(o, o+".second")
			} else {
				b.unlink(o + ".second")
			}
		},
		looks: func(b *box, o string) (any, []look) {
			fd := b.open(o, unix.O_RDONLY)
			return nil, []look{{name: "stat", parity: true, see: func() uint64 { return odd(b.stat(o).Nlink == 1) }},
				{name: "fstat", parity: true, see: func() uint64 { return odd(b.fstat(fd).Nlink == 1) }},
				{name: "lookup", parity: true, see: func() uint64 { return odd(!b.exists(o + ".second")) }}}
		}},
}

func (b *box) rewound(fd int) int {
	_, err := unix.Seek(fd, 0, 0)
	b.ok("rewind", err)
	return fd
}

func objectName(i int) string { return fmt.Sprintf("%s-%d", kinds[i%len(kinds)].name, i) }

// runChange makes the objects and changes them: BOARD DIR SEED RATE. It ends when the board
// says so.
func runChange(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("want BOARD DIR SEED RATE, got %q", args)
	}
	seed, err1 := strconv.ParseUint(args[2], 10, 64)
	rate, err2 := strconv.Atoi(args[3])
	bo, err3 := openBoard(args[0])
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	b, r := &box{dir: args[1]}, rand.New(rand.NewPCG(seed, 4))
	return runOne(test{run: func(*box) {
		for i := range bo.objects {
			kinds[i%len(kinds)].make(b, objectName(i))
			bo.objects[i].begun.Store(1)
			bo.objects[i].done.Store(1)
		}
		began := time.Now()
		for n := 1; bo.stop.Load() == 0; n++ {
			i := r.IntN(len(bo.objects))
			o := &bo.objects[i]
			state := o.begun.Add(1)
			kinds[i%len(kinds)].next(b, objectName(i), state)
			o.done.Store(state)
			bo.changes.Add(1)
			if ahead := time.Duration(n)*time.Second/time.Duration(rate) - time.Since(began); ahead > time.Millisecond {
				time.Sleep(ahead)
			}
		}
	}}, nil)
}

// runLook looks at random objects until the board says it is enough: BOARD DIR SEED
// leader|follower. It prints how often, and how often the state was known exactly.
func runLook(args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("want BOARD DIR SEED leader|follower, got %q", args)
	}
	seed, err1 := strconv.ParseUint(args[2], 10, 64)
	bo, err2 := openBoard(args[0])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	b, r := &box{dir: args[1]}, rand.New(rand.NewPCG(seed, 5))
	var all, exact, stale int
	var first string
	err := runOne(test{run: func(*box) {
		var looks [coherenceObjects][]look
		var kept [coherenceObjects]any
		for bo.stop.Load() == 0 {
			i := r.IntN(len(bo.objects))
			o := &bo.objects[i]
			if looks[i] == nil {
				kept[i], looks[i] = kinds[i%len(kinds)].looks(b, objectName(i))
			}
			l := looks[i][r.IntN(len(looks[i]))]
			floor := o.floor.Load()
			if args[3] == "leader" {
				floor = o.done.Load()
			}
			began := time.Now()
			saw := l.see()
			took := time.Since(began)
			ceiling := o.begun.Load()
			all++
			if floor == ceiling {
				exact++
			}
			if l.parity && (floor != ceiling || saw == floor%2) || !l.parity && saw >= floor && saw <= ceiling || l.overtaken && floor != ceiling {
				continue
			}
			stale++
			if first == "" {
				first = fmt.Sprintf("%s by %s: saw %d, want %d to %d; the look took %v", objectName(i), l.name, saw, floor, ceiling, took)
			}
		}
		_ = kept
	}}, nil)
	fmt.Println(all, exact)
	if stale > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d looks were stale, the first: %s", stale, all, first))
	}
	return err
}

// coherenceTime is how long the test changes things, and at least how often.
func coherenceTime(t *testing.T) (d time.Duration, changes uint64) {
	t.Helper()
	if s := os.Getenv("WDTEST_COHERENCE"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		return d, uint64(d.Seconds() * 1000)
	}
	if testing.Short() {
		return 6 * time.Second, 2000
	}
	return time.Minute, 100000
}

// TestCoherence: readers with everything in their caches never see what is older than what
// the follower has applied.
func TestCoherence(t *testing.T) {
	b := newBed(t, "dir")
	dir := b.in("coherence")
	there := filepath.Join(b.follower().Mount, "coherence")
	path := filepath.Join(b.Dir, "board")
	bo, err := openBoard(path)
	b.must(err)
	d, want := coherenceTime(t)
	s := seed(t)
	results := make(chan cluster.Result)
	longest := 3 * d // on a machine that is too slow for so many changes in d
	start := func(helper string, args ...string) {
		go func() {
			results <- cluster.RunHelper(longest+2*time.Minute, helper, append([]string{path}, args...)...)
		}()
	}
	running := 1
	start("change", dir, s, "3000")
	b.published(bo, 1) // all objects are there
	for i := range 6 {
		where, who := there, "follower"
		if i == 5 {
			where, who = dir, "leader"
		}
		start("look", where, s+strconv.Itoa(i), who)
		running++
	}
	began := time.Now()
	for time.Since(began) < d || bo.changes.Load() < want && time.Since(began) < longest {
		b.published(bo, 1)
	}
	bo.stop.Store(1)
	looks, exact := 0, 0
	for range running {
		r := <-results
		if err := r.OK(); err != nil {
			t.Error(err)
		}
		if f := strings.Fields(r.Stdout); len(f) == 2 {
			a, _ := strconv.Atoi(f[0])
			e, _ := strconv.Atoi(f[1])
			looks, exact = looks+a, exact+e
		}
	}
	t.Logf("%d changes in %v, %d looks, %d of them at a state known exactly", bo.changes.Load(), time.Since(began).Round(time.Second), looks, exact)
	if n := bo.changes.Load(); n < want {
		t.Errorf("only %d changes, want %d", n, want)
	}
	if looks < 1000 || exact < looks/20 {
		t.Errorf("%d looks, %d exact: too few to show anything", looks, exact)
	}
	b.equal()
}

// published waits until the follower says that it has applied what is done now, and
// then raises the floors to that, which have to be at least least.
func (b *bed) published(bo *board, least uint64) {
	b.t.Helper()
	var done [coherenceObjects]uint64
	for i := range bo.objects {
		for done[i] = bo.objects[i].done.Load(); done[i] < least; done[i] = bo.objects[i].done.Load() {
			time.Sleep(time.Millisecond)
		}
	}
	_, err := b.CatchUp(b.follower(), readyTimeout)
	b.must(err)
	for i := range bo.objects {
		bo.objects[i].floor.Store(done[i])
	}
}
