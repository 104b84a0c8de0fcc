package fusefs

func runServer() {}
