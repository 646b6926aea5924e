"""What the offline provider makes of real meetings, beside what people made of them."""
