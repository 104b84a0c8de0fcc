package volume

import "syscall"

const enoattr = syscall.ENODATA
