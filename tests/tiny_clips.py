"""Small dual encoders of transformers with random weights, saved as their library saves them."""

WORDS = [*"abcdefghijklmnopqrstuvwxyz", "red", "circle", "blue", "square", "beside", "small", "green", "star", "ring"]


def save_tokenizer(folder, length):
    """Save a tokenizer of whole words and letters; returns the size of its vocabulary, the last two of which begin and end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: i for i, word in enumerate(["<pad>", "<unk>", *WORDS, "<s>", "</s>"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", words["<s>"]), ("</s>", words["</s>"])]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="</s>", model_max_length=length
    ).save_pretrained(folder)
    return len(words)


def make_clip(folder, length=24):
    """Save a CLIP of 32 px."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    size = save_tokenizer(folder, length)
    text = {"vocab_size": size, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"max_position_embeddings": length, "eos_token_id": size - 1, "bos_token_id": size - 2, "pad_token_id": 0}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)


def make_siglip(folder):
    """Save a SigLIP of 32 px and 64 tokens."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    size = save_tokenizer(folder, 64)
    text = {"vocab_size": size, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"max_position_embeddings": 64, "projection_size": 32, "pad_token_id": 0}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 16}
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
