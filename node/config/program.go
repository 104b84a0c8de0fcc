package config

import "math/bits"

// Program is a set of WolfDisk's programs; a Config belongs to exactly one.
type Program uint8

// The programs.
const (
	Master Program = 1 << iota // wolfdisk-master
	Slave                      // wolfdisk-slave
	Tool                       // wolfdisk
	Ctl                        // wolfdiskctl

	Daemons = Master | Slave
	All     = Daemons | Tool | Ctl
)

var programNames = [...]string{"wolfdisk-master", "wolfdisk-slave", "wolfdisk", "wolfdiskctl"}

func (p Program) String() string {
	if bits.OnesCount8(uint8(p)) != 1 || p > Ctl {
		return "several programs"
	}
	return programNames[bits.TrailingZeros8(uint8(p))]
}

// programOf finds a program by its name.
func programOf(name string) (Program, bool) {
	for i, n := range programNames {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}
