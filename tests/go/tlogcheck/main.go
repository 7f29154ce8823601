// tlogcheck verifies a published log with the packages behind Go's checksum database, and nothing of ours.
//
//	tlogcheck URL VKEY-FILE [PROOF-FILE ENTRY-FILE]
//
// URL is a log's prefix (C2SP tlog-tiles), VKEY-FILE holds its verifier key (C2SP signed-note). It reads every
// entry and compares the root over them with the signed one; proves entries and earlier trees out of the tiles;
// and, given the two files, that the entry is under the checkpoint in the proof (C2SP tlog-proof).
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height  = 8
	width   = 1 << height
	samples = 100 // entries, and earlier sizes, that are proved out of tiles
	maxBody = 8 << 20
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("tlogcheck: ")
	if len(os.Args) != 3 && len(os.Args) != 5 {
		log.Fatal("usage: tlogcheck URL VKEY-FILE [PROOF-FILE ENTRY-FILE]")
	}
	url, verifier := strings.TrimSuffix(os.Args[1], "/"), readVerifier(os.Args[2])
	if len(os.Args) == 5 {
		index, size := checkProof(verifier, os.Args[3], os.Args[4])
		fmt.Printf("proof: entry %d is under a checkpoint of %d entries\n", index, size)
	}
	tree := parseCheckpoint(fetch(url+"/checkpoint"), verifier)
	hashes := readEntries(url, tree)
	root, err := tlog.TreeHash(tree.N, hashes)
	check(err, "root")
	if root != tree.Hash {
		log.Fatalf("the root over %d entries is %v, and %v was signed", tree.N, root, tree.Hash)
	}
	fmt.Printf("entries: the root over all %d is the signed one\n", tree.N)
	checkTiles(url, tree, hashes)
	fmt.Printf("tiles: they prove entries and earlier trees\n")
}

func check(err error, what string) {
	if err != nil {
		log.Fatalf("%s: %v", what, err)
	}
}

func readVerifier(file string) note.Verifier {
	text, err := os.ReadFile(file)
	check(err, "vkey")
	verifier, err := note.NewVerifier(strings.TrimSpace(string(text)))
	check(err, file)
	return verifier
}

func fetch(url string) []byte {
	answer, err := http.Get(url)
	check(err, "fetch")
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	check(err, url)
	if answer.StatusCode != http.StatusOK {
		log.Fatalf("%s: %s", url, answer.Status)
	}
	return body
}

// parseCheckpoint returns the tree in a signed note whose origin is the verifier's name.
func parseCheckpoint(data []byte, verifier note.Verifier) tlog.Tree {
	opened, err := note.Open(data, note.VerifierList(verifier))
	check(err, "checkpoint")
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		log.Fatalf("checkpoint: not three lines that begin with %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err, "checkpoint's size")
	root, err := tlog.ParseHash(lines[2])
	check(err, "checkpoint's root")
	return tlog.Tree{N: size, Hash: root}
}

// readEntries returns the stored hashes over all entries of the log, as tlog numbers them.
func readEntries(url string, tree tlog.Tree) stored {
	var hashes stored
	for first := int64(0); first < tree.N; first += width {
		tile := tlog.Tile{H: height, L: -1, N: first / width, W: int(min(width, tree.N-first))}
		data := fetch(url + "/" + path(tile))
		for place := 0; place < tile.W; place++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				log.Fatalf("%s: it ends in entry %d", path(tile), place)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			more, err := tlog.StoredHashes(first+int64(place), data[2:end], hashes)
			check(err, path(tile))
			hashes, data = append(hashes, more...), data[end:]
		}
		if len(data) != 0 {
			log.Fatalf("%s: %d bytes too many", path(tile), len(data))
		}
	}
	return hashes
}

// checkTiles proves entries and earlier trees out of tiles, which tlog checks against the tree as it reads them.
func checkTiles(url string, tree tlog.Tree, hashes stored) {
	reader := tlog.TileHashReader(tree, tiles(url))
	step := max(1, tree.N/samples)
	for index := int64(0); index < tree.N; index += step {
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		check(err, "inclusion proof")
		leaf := hashes[tlog.StoredHashIndex(0, index)]
		check(tlog.CheckRecord(proof, tree.N, tree.Hash, index, leaf), "inclusion")
	}
	for size := int64(1); size <= tree.N; size += step {
		old, err := tlog.TreeHash(size, hashes)
		check(err, "earlier root")
		proof, err := tlog.ProveTree(tree.N, size, reader)
		check(err, "consistency proof")
		check(tlog.CheckTree(proof, tree.N, tree.Hash, size, old), "consistency")
	}
}

// checkProof verifies a .tlog-proof file and the entry it is about.
func checkProof(verifier note.Verifier, proofFile, entryFile string) (index, size int64) {
	data, err := os.ReadFile(proofFile)
	check(err, "proof")
	entry, err := os.ReadFile(entryFile)
	check(err, "entry")
	head, checkpoint, found := bytes.Cut(data, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		log.Fatalf("%s: not a proof", proofFile)
	}
	index, err = strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	check(err, "proof's index")
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		sibling, err := base64.StdEncoding.DecodeString(line)
		check(err, "proof's hash")
		proof = append(proof, tlog.Hash(sibling))
	}
	tree := parseCheckpoint(checkpoint, verifier)
	check(tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry)), "proof")
	return index, tree.N
}

// stored holds the hashes of a log in tlog's order.
type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for place, index := range indexes {
		found[place] = s[index]
	}
	return found, nil
}

// tiles reads a log's tiles from its URL.
type tiles string

func (t tiles) Height() int { return height }

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(wanted))
	for place, tile := range wanted {
		found[place] = fetch(string(t) + "/" + path(tile))
	}
	return found, nil
}

// path is the tile's name in C2SP's layout, which has no height in it and calls entries by that name.
func path(tile tlog.Tile) string {
	name := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
	return strings.Replace(name, "tile/data/", "tile/entries/", 1)
}
