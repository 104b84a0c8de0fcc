package hostdir

// BootID names this run of the machine: it changes with every boot and never
// within one.
func BootID() (string, error) { return bootID() }
