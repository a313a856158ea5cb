"""Trains the models of edge-seg and writes them as model folders."""
