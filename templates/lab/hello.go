// The lab's hello-world: proof that a container ran, and on what.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

func main() {
	fmt.Println("Hello from containerd!")
	mounts, err := os.Open("/proc/mounts")
	if err != nil {
		fmt.Println("its root file system is unknown:", err)
		os.Exit(1)
	}
	defer mounts.Close()
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); fields[1] == "/" {
			fmt.Println("This container's root file system is", fields[2], "on", fields[0])
		}
	}
}
