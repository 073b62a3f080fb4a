"""Sums, texts and series: how well what comes next is predicted, after how long."""
