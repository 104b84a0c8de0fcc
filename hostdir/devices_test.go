package hostdir

import "testing"

// The numbers are those of FreeBSD's sys/types.h: makedev(major, minor).
func TestFreeBSDDevices(t *testing.T) {
	volumeDev := func(major, minor uint32) uint32 { return minor&0xff | major<<8 | minor&0xfff00<<12 }
	for _, tt := range []struct {
		major, minor uint32
		want         uint64
	}{
		{0, 0, 0},
		{1, 3, 0x103},
		{8, 17, 0x811},
		{300, 5, 0x10000002c05},
		{1, 0x1ff, 0x1000001ff},
		{0xfff, 0xfffff, 0xfff000fffff},
		{0, 0x10000, 0x10000},
	} {
		got := freebsdDev(volumeDev(tt.major, tt.minor))
		if got != tt.want {
			t.Errorf("makedev(%d, %d) is %#x, want %#x", tt.major, tt.minor, got, tt.want)
		}
		if back := fromFreeBSDDev(got); back != volumeDev(tt.major, tt.minor) {
			t.Errorf("makedev(%d, %d) comes back as %#x", tt.major, tt.minor, back)
		}
	}
}
