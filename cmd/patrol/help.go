package main

import _ "embed"

// The long help of each command, as its reader sees it.
var (
	//go:embed help/root.txt
	rootLong string
	//go:embed help/serve.txt
	serveLong string
	//go:embed help/rotate.txt
	rotateLong string
	//go:embed help/login.txt
	loginLong string
	//go:embed help/logout.txt
	logoutLong string
	//go:embed help/status.txt
	statusLong string
	//go:embed help/doctor.txt
	doctorLong string
	//go:embed help/token.txt
	tokenLong string
	//go:embed help/exec.txt
	execLong string
	//go:embed help/env.txt
	envLong string
	//go:embed help/demo.txt
	demoLong string
)
