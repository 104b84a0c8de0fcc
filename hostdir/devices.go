package hostdir

// FreeBSD's device numbers have 64 bits: the low bytes of major and minor lie as on Linux,
// what is above them elsewhere. x/sys knows only those of before FreeBSD 12.

// freebsdDev gives a device number of a volume FreeBSD's form.
func freebsdDev(rdev uint32) uint64 {
	major, minor := uint64(rdev>>8&0xfff), uint64(rdev&0xff|rdev>>12&0xfff00)
	return major&0xffffff00<<32 | major&0xff<<8 | minor&0xff00<<24 | minor&0xffff00ff
}

// fromFreeBSDDev is the way back, for majors of up to 12 and minors of up to 20 bits.
func fromFreeBSDDev(dev uint64) uint32 {
	major := dev>>32&0xffffff00 | dev>>8&0xff
	minor := dev>>24&0xff00 | dev&0xffff00ff
	return uint32(minor&0xff | major&0xfff<<8 | minor&0xfff00<<12)
}
